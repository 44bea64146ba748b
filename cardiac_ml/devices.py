"""Where and how to compute: the device, the precision and the number of CPU threads that pay on this machine."""
import os
import platform
import subprocess
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path

import torch

MOST_THREADS = 16  # beyond that, the small layers of these networks only wait for one another


def pick_device(device=None):
    """``device`` if given, else this process's GPU, else Apple's, else the CPU."""
    if device is not None:
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_precision(precision, device):
    """"float32" or "bfloat16"; "auto" takes bfloat16 where the hardware multiplies in it."""
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision is {precision!r}; it can be 'auto', 'float32' or 'bfloat16'")
    if precision != "auto":
        return precision
    return "bfloat16" if has_bfloat16(device) else "float32"


def has_bfloat16(device):
    """Whether bfloat16 is faster than float32 there. A CPU that only imitates it is about ten times slower."""
    if device.type == "cuda":
        return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8  # Ampere and later
    if device.type != "cpu" or not hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported"):
        return False
    native = any(getattr(torch.cpu, test, bool)() for test in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return native and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # the second knows of ONEDNN_MAX_CPU_ISA


def computing(precision, device):
    """A context in which layers compute in ``precision``; weights stay float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


# ---- CPU threads: one per core that this process may really use; more can be ten times slower ----

@contextmanager
def cpu_threads(count=None):
    """Compute with ``count`` threads (default: ``usable_cores()``) inside the block, and as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def usable_cores():
    """Physical cores this process may use: ``OMP_NUM_THREADS`` if set, else affinity, container limit and siblings."""
    wished = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wished.isdigit() and int(wished) > 0:
        return int(wished)
    cores = min(physical_cores(), container_limit(), MOST_THREADS)
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))  # torchrun: several processes share them


@lru_cache
def physical_cores():
    """Cores among the processors this process may run on; two hyperthreads of one core count once."""
    if platform.system() == "Darwin":  # the fast cores of Apple's chips
        told = subprocess.run(["sysctl", "-n", "hw.perflevel0.physicalcpu"], capture_output=True, text=True).stdout
        return int(told) if told.strip().isdigit() else os.cpu_count() or 1
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 2) // 2)  # Windows: most processors are two hyperthreads a core
    return len({_siblings(processor) for processor in os.sched_getaffinity(0)})


def _siblings(processor):
    try:
        return Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(processor)


def container_limit(root="/sys/fs/cgroup"):
    """CPUs granted by the container (cgroup version 2, then 1), rounded up; a very large number where there is none."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join(Path(root, name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        if quota not in ("max", "-1"):
            return max(1, -(-int(quota) // int(period)))
    return 1 << 20
