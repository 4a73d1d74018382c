"""How long does a model take for a picture, and how long on a processor without VNNI? One command, one table:

    python -m benchmarks.model_speed [FLATBUFFER...]

LiteRT chooses its kernels by the CPUID instruction. A child process replaces each CPUID in LiteRT's library by an
invalid instruction, whose signal handler runs the real one and hides bits of its answer: so the kernels of older
processors run here, at this processor's speed. Needs gcc and objdump, on x86-64. The median of 200 pictures, singly, on
one thread, in processor time.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ai_edge_litert
import numpy as np

from shazimd.models.model import EmbeddingModel, bundled, describe

LIBRARY = Path(ai_edge_litert.__path__[0]) / "libpywrap_litert_common.so"
HIDDEN = {
    "as it is": (0, 0, 0),
    "without VNNI": (0, 1 << 11, 1 << 4),
    "without AVX-512 and VNNI (as Zen 3, Skylake)": (0xDC230000, 0x5842, 1 << 4),
}
"""Bits of leaf 7 that are hidden: EBX and ECX of sub-leaf 0, EAX of sub-leaf 1."""
PICTURES = 200

HANDLER = r"""
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
static uint32_t hide_ebx, hide_ecx, hide_eax1;
static void on_invalid(int signal_number, siginfo_t *info, void *context) {
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    uint8_t *at = (uint8_t *)r[REG_RIP];
    if (at[0] != 0x0f || at[1] != 0x0b) abort();
    uint32_t leaf = r[REG_RAX], sub = r[REG_RCX], a, b, c, d;
    __cpuid_count(leaf, sub, a, b, c, d);
    if (leaf == 7 && sub == 0) { b &= ~hide_ebx; c &= ~hide_ecx; }
    if (leaf == 7 && sub == 1) a &= ~hide_eax1;
    r[REG_RAX] = a; r[REG_RBX] = b; r[REG_RCX] = c; r[REG_RDX] = d; r[REG_RIP] += 2;
}
int hide(uint8_t **places, int count, uint32_t ebx, uint32_t ecx, uint32_t eax1) {
    struct sigaction action = {.sa_sigaction = on_invalid, .sa_flags = SA_SIGINFO};
    hide_ebx = ebx; hide_ecx = ecx; hide_eax1 = eax1;
    if (sigaction(SIGILL, &action, 0)) return -1;
    for (int i = 0; i < count; i++) {
        uint8_t *page = (uint8_t *)((uintptr_t)places[i] & ~4095ul);
        if (places[i][0] != 0x0f || places[i][1] != 0xa2) return -2;
        if (mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC)) return -3;
        places[i][1] = 0x0b;
    }
    return count;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flatbuffers", nargs="*", default=[bundled().path])
    parser.add_argument("--child", nargs=2, metavar=("HIDDEN", "HANDLER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        hide(HIDDEN[options.child[0]], options.child[1])
        print(json.dumps([measure(path) for path in options.flatbuffers]))
        return
    print("| processor |", *(f"{Path(path).name}, ms |" for path in options.flatbuffers))
    print("|" + "---|" * (1 + len(options.flatbuffers)))
    with tempfile.TemporaryDirectory() as folder:
        source, handler = Path(folder, "handler.c"), Path(folder, "handler.so")
        source.write_text(HANDLER)
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", handler, source], check=True)
        for name in HIDDEN:
            again = [sys.executable, "-m", "benchmarks.model_speed", "--child", name, str(handler), "--"]
            out = subprocess.run([*again, *options.flatbuffers], check=True, stdout=subprocess.PIPE, text=True).stdout
            print(f"| {name} |", *(f"{ms:.1f} |" for ms in json.loads(out)), flush=True)


def hide(bits: tuple[int, int, int], handler: str) -> None:
    """Hide these bits from LiteRT, which has not looked at the processor yet."""
    if not any(bits):
        return
    ctypes.CDLL(str(LIBRARY), os.RTLD_NOW | os.RTLD_GLOBAL)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        base = next(int(line.partition("-")[0], 16) for line in maps if line.rstrip().endswith(str(LIBRARY)))
    lines = subprocess.run(
        ["objdump", "-d", LIBRARY], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()
    places = [base + int(line.partition(":")[0], 16) for line in lines if line.endswith("cpuid")]
    hidden = ctypes.CDLL(handler).hide((ctypes.c_void_p * len(places))(*places), len(places), *bits)
    if not places or hidden != len(places):
        raise SystemExit(f"{LIBRARY}: hid {hidden} of {len(places)} CPUID instructions")


def measure(path: str) -> float:
    model = EmbeddingModel(describe(path, path))
    shape = PICTURES, model.info.input_height, model.info.input_width, 3
    pictures = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    spent = []
    for picture in pictures:
        started = time.process_time()
        model.embed(picture[np.newaxis])
        spent.append((time.process_time() - started) * 1e3)
    return float(np.median(spent))


if __name__ == "__main__":
    main()
