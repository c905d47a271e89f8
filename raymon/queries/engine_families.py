"""Names of the families that inference engines export, by engine: on their own pages, or through Ray's exporter.

They carry no label of raymon's: a run is not known of them. An engine exports one of its names, as its version has it.
"""

from collections.abc import Mapping
from typing import Final

FIRST_TOKEN: Final[Mapping[str, tuple[str, ...]]] = {
    "vLLM": ("vllm:time_to_first_token_seconds_bucket", "ray_vllm_time_to_first_token_seconds_bucket"),
    "SGLang": ("sglang:time_to_first_token_seconds_bucket",),
}
"""Histograms of the time from a request to the first token of its response."""
CACHE_USED: Final[Mapping[str, tuple[str, ...]]] = {
    "vLLM": ("vllm:kv_cache_usage_perc", "ray_vllm_kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    "SGLang": ("sglang:token_usage",),
}
"""Gauges of the share, 0 to 1, of the key-value cache that is in use."""
EVERY: Final = frozenset(name for names in (*FIRST_TOKEN.values(), *CACHE_USED.values()) for name in names)
