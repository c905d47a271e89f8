"""A platform of verl for machines without an accelerator, registered as verl's own documentation of platforms says.

Loaded in every process by `VERL_USE_EXTERNAL_MODULES=cpu_platform`. Ray's resource is called GPU, because verl counts
that one; the script starts Ray with as many as it wants.
"""

import contextlib
from types import ModuleType

import torch
from verl.plugin.platform import platform_manager
from verl.plugin.platform.platform_base import PlatformBase


class CpuModule(ModuleType):
    """`torch.cpu` with the functions of `torch.cuda` that verl calls, as no-ops."""

    @staticmethod
    def mem_get_info(*_):
        """Return free and total bytes."""
        return 1, 1

    @staticmethod
    def get_device_name(*_):
        """Return the name by which verl looks up the peak of a device."""
        return "CPU"

    @staticmethod
    def get_device_properties(*_):
        """Do nothing: verl reads no properties of a CPU."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(torch.cpu, name, lambda *_, **__: 0)


class CpuPlatform(PlatformBase):
    """Answers of a CPU."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = CpuModule("torch_cpu")

    def is_available(self):
        """Return that a CPU is there."""
        return True

    def current_device(self):
        """Return the device that tensors are sent to."""
        return torch.device("cpu")

    def device_count(self):
        """Return the number of devices."""
        return 1

    def communication_backend_name(self):
        """Return the backend of collectives."""
        return "gloo"

    def visible_devices_envvar(self):
        """Return the variable that selects devices."""
        return "CUDA_VISIBLE_DEVICES"

    def ray_resource_name(self):
        """Return Ray's resource."""
        return "GPU"

    def ray_noset_envvars(self):
        """Return no variables."""
        return []

    def is_ipc_supported(self):
        """Return that tensors are not shared."""
        return False

    def get_device_capability(self, device_index=0):
        """Return that there is none."""
        return None, None

    def nvtx_range(self, msg):
        """Return a context that marks nothing."""
        return contextlib.nullcontext(msg)

    def _nothing(self, *_):
        """Do nothing."""

    set_device = synchronize = manual_seed = manual_seed_all = set_allocator_settings = empty_cache = _nothing
    profiler_start = profiler_stop = cudart = _nothing


platform_manager.PlatformRegistry.register(platform="cpu")(CpuPlatform)
platform_manager.set_platform(CpuPlatform())
