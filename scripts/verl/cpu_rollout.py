"""Generation with transformers on the CPU, behind verl's interfaces for inference servers.

Loaded by `actor_rollout_ref.model.external_lib=cpu_rollout`, verl's option for what is registered from outside: it
registers the rollout `cpu`, and verl's own FSDP engine for the CPU.
"""

import asyncio
import os

import ray
import torch
from verl.utils import fsdp_utils, model
from verl.workers.engine.base import EngineRegistry
from verl.workers.engine.fsdp import transformer_impl
from verl.workers.rollout import base
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput


class Server:
    """An actor that generates with the weights it received last."""

    def __init__(self, path):
        import transformers

        torch.set_num_threads(1)
        config = transformers.AutoConfig.from_pretrained(path)
        self.model = transformers.AutoModelForCausalLM.from_config(config)
        self.end = config.eos_token_id
        self.version = 0
        self.lock = asyncio.Lock()

    async def load(self, weights, version):
        """Receive weights."""
        self.model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()}, strict=False)
        self.version = version or 0

    async def generate(self, request_id, *, prompt_ids, sampling_params, **_):
        """Return sampled tokens with their log-probabilities."""
        most = int(sampling_params.get("max_tokens") or sampling_params.get("max_new_tokens") or 16)
        async with self.lock:
            return await asyncio.to_thread(self._sample, list(prompt_ids), most)

    @torch.no_grad()
    def _sample(self, tokens, most):
        inputs, cache, log_probs, sampled = torch.tensor([tokens]), None, [], []
        while len(sampled) < most and (not sampled or sampled[-1] != self.end):
            output = self.model(inputs, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            choice = output.logits[0, -1].float().log_softmax(-1)
            token = int(torch.multinomial(choice.exp(), 1))
            log_probs.append(float(choice[token]))
            sampled.append(token)
            inputs = torch.tensor([[token]])
        steps = {"global_steps": self.version}
        return TokenOutput(token_ids=sampled, log_probs=log_probs, stop_reason="completed", extra_fields=steps)

    async def idle(self, *_, **__):
        """Do nothing: there is no memory to give back."""

    sleep = wake_up = clear_kv_cache = release_kv_cache = resume_kv_cache = idle
    abort_all_requests = resume_generation = idle


class Replica(RolloutReplica):
    """One server."""

    async def launch_servers(self):
        """Start the server under a name that the trainer's workers know."""
        name = f"cpu_server_{self.replica_rank}"
        server = ray.remote(Server).options(name=name, num_cpus=0.1).remote(self.model_config.path)
        self.servers, self._server_handle, self._server_address = [server], server, name


class Adapter(base.BaseRollout):
    """What a worker of the trainer holds of its server, one each: sends weights to it."""

    async def update_weights(self, weights, global_steps=None, **_):
        """Send weights."""
        values = {}
        async for name, value in _each(weights):
            full = value.full_tensor() if hasattr(value, "full_tensor") else value
            values[name] = full.detach().float().numpy().copy()
        await ray.get_actor(f"cpu_server_{os.environ['RANK']}").load.remote(values, global_steps)

    async def resume(self, tags):
        """Do nothing."""

    async def release(self):
        """Do nothing."""


async def _each(values):
    if hasattr(values, "__aiter__"):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value


def load_critic(local_path, torch_dtype, model_config, **_):
    """Load a critic as verl does, without flash-attention, which verl asks for and a CPU lacks."""
    import transformers

    load = transformers.AutoModelForTokenClassification.from_pretrained
    return load(local_path, torch_dtype=torch_dtype, config=model_config, attn_implementation="eager")


def offload(pin_memory):
    """Return the policy that verl asks for where nothing is trained, without memory pinned for an accelerator."""
    return fsdp_utils.CPUOffloadPolicy(pin_memory=False)


model.load_valuehead_model = load_critic
transformer_impl.CPUOffloadPolicy = offload
RolloutReplicaRegistry.register("cpu", lambda: Replica)
base._ROLLOUT_REGISTRY["cpu", "async"] = "cpu_rollout.Adapter"
for model_type, engine in (
    ("language_model", transformer_impl.FSDPEngineWithLMHead),
    ("value_model", transformer_impl.FSDPEngineWithValueHead),
):
    EngineRegistry.register(model_type=model_type, backend=["fsdp", "fsdp2"], device=["cpu"])(engine)

if "RANK" in os.environ and not torch.distributed.is_initialized():
    # In a worker of the trainer. verl names the backend once for the CPU and once for its device, here the same twice.
    torch.distributed.init_process_group("gloo", init_method=os.environ.get("DIST_INIT_METHOD"))
