"""GRPO on a language model of 0.2 million parameters that learns to sort digits: `4172=` is answered by `1247.`.

Rollout actors generate groups of responses, a reward actor scores them and a trainer actor learns from them, all at the
same time: a batch may be up to `--max-staleness` updates old. A supervised warm-up of a few seconds stands in for
pretraining; then the share of right answers rises from 0.4 to more than 0.8 within two minutes on two cores.

    python examples/grpo.py
    python examples/grpo.py --fault slow-reward

Faults, from update `--fault-after` on: `long-tail` (three responses in a hundred are about twenty times as long),
`slow-rollout` (rollout actor 1 takes five times as long for a token), `slow-reward` (a second a batch), `dead-rollout`
(rollout actor 1 ends), `stale-weights` (no rollout actor receives new weights), `equal-rewards` (all responses score
zero).

Recorded by raymon: the lines marked with `# raymon`.
"""

import argparse
import os
import random
import time
from collections import deque

import numpy as np
import ray
import torch
from torch import nn
from torch.nn import functional

import raymon  # raymon

PAD, EQUALS, END = 0, 11, 12  # digits are 1 to 10
TOKENS = 13
MOST_DIGITS = 5
PROMPT = MOST_DIGITS + 1
LIMIT = MOST_DIGITS + 3  # tokens of a response
LONG = 100  # tokens of a long one
FAULTS = ("none", "long-tail", "slow-rollout", "slow-reward", "dead-rollout", "stale-weights", "equal-rewards")


class Block(nn.Module):
    def __init__(self, width=64, heads=4) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        size, length, width = x.shape
        qkv = self.qkv(self.norms[0](x)).view(size, length, 3, self.heads, width // self.heads)
        attended = functional.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4), is_causal=True)
        x = x + self.project(attended.transpose(1, 2).reshape(size, length, width))
        return x + self.dense(self.norms[1](x))


class Model(nn.Module):
    def __init__(self, width=64, layers=4) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(TOKENS, width), nn.Embedding(PROMPT + LONG, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(layers)])
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, TOKENS))

    def forward(self, tokens):
        return self.head(self.blocks(self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))))


def prompts(number, source):
    """Return prompts `[number, PROMPT]`, padded on the left, and the response that is right for each."""
    digits = [[source.randint(1, 10) for _ in range(source.randint(3, MOST_DIGITS))] for _ in range(number)]
    padded = [[PAD] * (MOST_DIGITS - len(each)) + each + [EQUALS] for each in digits]
    return np.array(padded), [[*sorted(each), END] for each in digits]


announced = set()


def faulty(options, fault, version):
    """Return whether a fault is there at a version of the policy; each process prints when it begins there."""
    there = options.fault == fault and version >= options.fault_after
    if there and fault not in announced:
        announced.add(fault)
        print(f"{fault}: fault at {time.time():.1f}", flush=True)
    return there


def score(response, answer):
    """Return the reward from 0 to 1: half for the share of right places, half for all of them."""
    right = sum(one == other for one, other in zip(response, answer, strict=False)) / max(len(response), len(answer))
    return (right + float(right == 1.0)) / 2


class Rollout:
    """Samples groups of responses with the weights it received last."""

    def __init__(self, rank, options) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(rank)
        self.rank, self.options = rank, options
        self.random, self.model, self.version = random.Random(rank), Model(), 0
        self.monitor = raymon.Monitor(worker=rank, role="rollout")  # raymon

    def receive(self, version, weights):
        began = time.perf_counter()
        with self.monitor.phase("weight_sync"):  # raymon
            self.model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
        self.version = version
        size = sum(value.nbytes for value in weights.values())
        self.monitor.weights_synced(time.perf_counter() - began, size)  # raymon
        self.monitor.policy_version(version)  # raymon

    def generate(self):
        time.sleep(self.options.rest)
        began = time.perf_counter()
        if self.rank == 1 and faulty(self.options, "dead-rollout", self.version):
            os._exit(1)
        questions, answers = prompts(self.options.prompts, self.random)
        with self.monitor.rollout("generate"):  # raymon
            responses, log_probs, lengths = self.sample(np.repeat(questions, self.options.group, axis=0))
            truncated = int((lengths >= LIMIT).sum())
            self.monitor.responses(lengths, prompt_tokens=PROMPT * len(lengths), truncated=truncated)  # raymon
        return {
            "rank": self.rank,
            "version": self.version,
            "seconds": time.perf_counter() - began,
            "tokens": int(lengths.sum()),
            "prompts": questions,
            "answers": answers,
            "responses": responses,
            "log_probs": log_probs,
        }

    @torch.no_grad()
    def sample(self, questions):
        """Return tokens and log-probabilities `[N, LIMIT]`, and the tokens generated for each response."""
        began, tokens = time.perf_counter(), torch.tensor(questions)
        log_probs, ended = [], torch.zeros(len(tokens), dtype=torch.bool)
        for _ in range(LIMIT):
            choice = self.model(tokens)[:, -1].log_softmax(-1)
            token = torch.where(ended, PAD, torch.multinomial(choice.exp(), 1)[:, 0])
            log_probs.append(choice.gather(1, token[:, None])[:, 0])
            tokens = torch.cat([tokens, token[:, None]], 1)
            ended |= token == END
        responses = tokens[:, PROMPT:]
        lengths = LIMIT - ((responses == END).cumsum(1) > 0).sum(1) + (responses == END).any(1)
        if faulty(self.options, "long-tail", self.version):  # what follows the first END is not trained on
            long = torch.randperm(len(tokens))[: max(1, 3 * len(tokens) // 100)]
            tail = functional.pad(tokens[long], (0, LONG - LIMIT), value=PAD)  # of one size, so that memory stays level
            for end in range(PROMPT + LIMIT, PROMPT + LONG):
                tail[:, end] = self.model(tail)[:, end - 1].argmax(-1)
            lengths[long] = LONG
        if self.rank == 1 and faulty(self.options, "slow-rollout", self.version):
            time.sleep(4 * (time.perf_counter() - began))
        return responses.numpy(), torch.stack(log_probs, 1).numpy(), lengths.numpy()


class Reward:
    """Scores the responses of a batch."""

    def __init__(self, options) -> None:
        self.options = options
        self.monitor = raymon.Monitor(worker=options.rollouts, role="reward")  # raymon

    def score(self, batch):
        with self.monitor.rollout("reward"):  # raymon
            if faulty(self.options, "slow-reward", batch["version"]):
                time.sleep(1.0)
            texts = [[*row[: row.index(END)], END] if END in row else row for row in batch["responses"].tolist()]
            answers = [answer for answer in batch["answers"] for _ in range(self.options.group)]
            rewards = np.array([score(*pair) for pair in zip(texts, answers, strict=True)])
            return {
                **batch,
                "rewards": 0 * rewards if faulty(self.options, "equal-rewards", batch["version"]) else rewards,
            }


class Trainer:
    """Learns: a supervised warm-up, then one clipped policy-gradient step for each batch."""

    def __init__(self, options) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.options, self.model = options, Model()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        self.monitor = raymon.Monitor(worker=options.rollouts + 1, role="trainer")  # raymon

    def weights(self):
        with self.monitor.phase("weight_sync"):  # raymon
            return {name: value.numpy().copy() for name, value in self.model.state_dict().items()}

    def warm_up(self):
        source = random.Random(-1)
        with self.monitor.rollout("train"):  # raymon
            for _ in range(self.options.warm_up):
                questions, answers = prompts(64, source)
                padded = [answer + [PAD] * (LIMIT - len(answer)) for answer in answers]
                full = torch.tensor(np.concatenate([questions, padded], 1))
                wanted = full[:, PROMPT:]
                logits = self.model(full[:, :-1])[:, PROMPT - 1 :]
                self.step(functional.cross_entropy(logits[wanted != PAD], wanted[wanted != PAD]))
        for group in self.optimizer.param_groups:
            group["lr"] = self.options.learning_rate

    def train(self, batch):
        with self.monitor.rollout():  # raymon
            with self.monitor.phase("advantage"):  # raymon
                rewards = torch.tensor(batch["rewards"], dtype=torch.float32).view(-1, self.options.group)
                spread = rewards.std(1, keepdim=True)
                advantages = ((rewards - rewards.mean(1, keepdim=True)) / (spread + 1e-4)).view(-1, 1)
                self.monitor.groups(len(rewards), without_signal=int((spread < 1e-6).sum()))  # raymon
            with self.monitor.phase("train"):  # raymon
                questions = np.repeat(batch["prompts"], self.options.group, axis=0)
                tokens = torch.tensor(np.concatenate([questions, batch["responses"]], 1))
                chosen = tokens[:, PROMPT:]
                counts = ((chosen == END).cumsum(1) - (chosen == END).int()) == 0
                log_probs = self.model(tokens[:, :-1])[:, PROMPT - 1 :].log_softmax(-1)
                ratio = (log_probs.gather(2, chosen[..., None])[..., 0] - torch.tensor(batch["log_probs"])).exp()
                gain = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
                loss = -gain[counts].mean()
                norm = self.step(loss)
                clipped = ((ratio - 1).abs() > 0.2)[counts].float().mean()
                entropy = -(log_probs.exp() * log_probs).sum(-1)[counts].mean()
        return {
            "policy_loss": float(loss.detach()),
            "gradient_norm": float(norm),
            "clip_ratio": float(clipped),
            "entropy": float(entropy.detach()),
        }

    def step(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return norm


class Controller:
    """Keeps the actors busy: two batches of each rollout actor are under way or wait in the buffer."""

    def __init__(self, options, driver) -> None:
        self.options, self.driver, self.version = options, driver, 0
        self.rollouts = [ray.remote(Rollout).remote(rank, options) for rank in range(options.rollouts)]
        self.reward, self.trainer = ray.remote(Reward).remote(options), ray.remote(Trainer).remote(options)
        self.generated = {}  # reference to generated batch -> its rollout's rank and the reference to its rewards

    def start(self):
        ray.get(self.trainer.warm_up.remote())
        self.send_weights()
        for rank in range(len(self.rollouts)):
            self.generate(rank)
            self.generate(rank)

    def generate(self, rank):
        batch = self.rollouts[rank].generate.remote()
        self.generated[batch] = (rank, self.reward.score.remote(batch))

    def send_weights(self):
        weights = self.trainer.weights.remote()
        for rollout in self.rollouts:
            rollout.receive.remote(self.version, weights)

    def next_batch(self):
        """Return the next batch with rewards that is not too stale."""
        while True:
            with self.driver.phase("generate"):  # raymon
                ready, _ = ray.wait(list(self.generated), num_returns=1)
            rank, scored = self.generated.pop(ready[0])
            try:
                with self.driver.phase("reward"):  # raymon
                    batch = ray.get(scored)
            except ray.exceptions.RayError as error:
                self.lose(rank, error)
                continue
            self.generate(rank)
            self.driver.received(rank, batch["seconds"], batch["tokens"], policy_version=batch["version"])  # raymon
            if self.version - batch["version"] <= self.options.max_staleness:
                return batch
            self.driver.dropped("stale", 1, batch["tokens"])  # raymon

    def lose(self, rank, error):
        """Go on without a rollout actor that died."""
        self.generated = {ref: value for ref, value in self.generated.items() if value[0] != rank}
        self.driver.worker_lost(rank, error)  # raymon
        self.driver.worker_given_up(rank)  # raymon

    def update(self):
        """Train on one batch and return its mean reward and its share of right answers."""
        with self.driver.iteration():  # raymon
            batch = self.next_batch()
            waiting, _ = ray.wait(list(self.generated), num_returns=len(self.generated), timeout=0)
            self.driver.buffer(len(waiting), capacity=2 * len(self.rollouts))  # raymon
            with self.driver.phase("train"):  # raymon
                figures = ray.get(self.trainer.train.remote(batch))
            lag = self.version - batch["version"]
            self.version += 1
            if not faulty(self.options, "stale-weights", self.version):
                with self.driver.phase("weight_sync"):  # raymon
                    self.send_weights()
            self.driver.trained(1, batch["tokens"], lags=[lag])  # raymon
            self.driver.update(**figures)  # raymon
            self.driver.policy_version(self.version)  # raymon
            self.driver.episodes(batch["rewards"], [LIMIT])  # raymon
        return batch["rewards"].mean(), (batch["rewards"] == 1.0).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, choices=(2, 3, 4), default=2, help="rollout actors")
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--prompts", type=int, default=32, help="prompts of a batch")
    parser.add_argument("--group", type=int, default=8, help="responses to each prompt")
    parser.add_argument("--warm-up", type=int, default=60, help="supervised steps before")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--max-staleness", type=int, default=6, help="older batches are dropped, in updates")
    parser.add_argument("--rest", type=float, default=0.0, help="seconds between batches, to leave cores to others")
    parser.add_argument("--fault", choices=FAULTS, default="none")
    parser.add_argument("--fault-after", type=int, default=10, help="updates before the fault")
    options = parser.parse_args()

    driver = raymon.DriverMonitor("grpo", algorithm="GRPO", environment="sort", workers=options.rollouts)  # raymon
    controller = Controller(options, driver)
    controller.start()
    began, recent = time.perf_counter(), deque(maxlen=20)
    for update in range(1, options.updates + 1):
        reward, right = controller.update()
        recent.append(right)
        if update % 20 == 0 or update == options.updates:
            print(
                f"{time.perf_counter() - began:5.1f} s, update {update}: reward {reward:.2f}, "
                f"right answers {sum(recent) / len(recent):.2f}",
                flush=True,
            )
    driver.state("finished")  # raymon
    driver.close()  # raymon


if __name__ == "__main__":
    main()
