#!/usr/bin/env python3
"""Prints GFLOPS, the machine's peak and their ratio for each kernel and instruction set, and checks the inner loops.

    python3 benches/kernels.py                 # every instruction set of this machine
    python3 benches/kernels.py --simd avx2     # one of them
    python3 benches/kernels.py --code          # only the machine code, of all instruction sets

An inner loop of a product should load, multiply and count: a register that is saved to the stack, or
moved to another, means that the tile does not fit the registers, which once cost half of the speed.
Nor should an intrinsic be called as a function, which means that some closure was compiled without the
instructions: that once cost a third of attention's.
The code is looked at whether this machine can run it or not (x86-64, with binutils' objdump); that of
AMX is written by hand.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SETS = ["portable", "avx2", "avx-vnni", "avx512", "avx512-vnni", "avx512-bf16", "amx"]
# What a loop of a product is known by, and how often it must be there to be one with a tile of registers.
PRODUCTS = {
    "f32, AVX2": (r"vfmadd\w+ps\s+ymm", 12),
    "f32, AVX-512": (r"vfmadd\w+ps\s+zmm", 16),
    "int8, AVX2": (r"vpmaddwd\s+ymm", 12),
    "int8, AVX-VNNI": (r"(\{vex\}\s+)?vpdpbusd\s+ymm", 8),
    "int8, AVX-512 VNNI": (r"vpdpbusd\s+zmm", 16),
    "bf16, AVX-512 BF16": (r"vdpbf16ps\s+zmm", 16),
}
MOVES = re.compile(r"v?mov(aps|ups|dqa|dqu|dqa64|dqu64|dqa32|dqu32)\s+([xyz]mm\d+),\s*([xyz]mm\d+)$")
STACK = re.compile(r"\[(rsp|rbp)[^\]]*\]")
# An intrinsic, or what calls one for each element of an array.
CLOSURE = re.compile(r"\scall\s.*(core_arch|5array.*map)")


def build():
    """Compiles the benchmark and returns its path."""
    command = ["cargo", "build", "--release", "--bench", "kernels", "--message-format=json-render-diagnostics"]
    # Names of functions are not stripped, so that a loop's function can be told.
    command += ["--config", "profile.release.package.clipclass.strip = false"]
    lines = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    made = [json.loads(line).get("executable") for line in lines.splitlines()]
    return next(path for path in made if path)


def disassemble(binary):
    """The lines of what is compiled with the instructions of a set: other packages have products, too."""
    command = ["objdump", "-d", "--no-show-raw-insn", "-M", "intel", binary]
    ours = False
    for line in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
        if line.endswith(">:"):
            ours = "clipclass_kernels" in line and "7enabled" in line
        if ours:
            yield line


def innermost_loops(code):
    """The instructions of each loop that has no other within it."""
    places, body = {}, []
    for line in code:
        if line.endswith(">:"):
            places, body = {}, []
        found = re.match(r"\s+([0-9a-f]+):\s+(.+?)\s*$", line)
        if not found:
            continue
        places[int(found[1], 16)] = len(body)
        body.append(found[2].split("#")[0].strip())
        back = re.match(r"j\w+\s+([0-9a-f]+)", body[-1])
        if back and int(back[1], 16) in places:
            loop = body[places[int(back[1], 16)] :]
            if not any(re.match(r"j\w+\s", step) for step in loop[:-1]):
                yield loop


def check_code(binary):
    """Prints what is in the inner loops of the products, and returns whether all are as they should be."""
    code = list(disassemble(binary))
    loops = list(innermost_loops(code))
    calls = sum(bool(CLOSURE.search(line)) for line in code)
    print(f"closures left as calls: {calls}")
    good = calls == 0
    for name, (pattern, least) in PRODUCTS.items():
        found = [loop for loop in loops if sum(bool(re.match(pattern, step)) for step in loop) >= least]
        if not found:
            print(f"{name}: no loop with {least} products")
            good = False
        for loop in sorted(found, key=len, reverse=True)[:4]:
            products = sum(bool(re.match(pattern, step)) for step in loop)
            moves = sum(bool(MOVES.match(step)) for step in loop)
            stack = sum(bool(STACK.search(step)) for step in loop)
            print(f"{name}: {products} products in {len(loop)} instructions, {moves} moves, {stack} of the stack")
            good &= moves == 0 and stack == 0
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--simd", choices=SETS, help="only this instruction set")
    parser.add_argument("--code", action="store_true", help="only look at the machine code")
    parser.add_argument("--binary", help="the `kernels` benchmark, built already and not stripped")
    arguments = parser.parse_args()
    binary = arguments.binary or build()
    if not arguments.code:
        seen = set()
        for simd in [arguments.simd] if arguments.simd else SETS:
            environment = {**os.environ, "CLIPCLASS_SIMD": simd}
            with subprocess.Popen([binary], env=environment, stdout=subprocess.PIPE, text=True) as process:
                used = process.stdout.readline().strip()
                # A limit above what the machine has gives what was there already.
                if used in seen:
                    process.terminate()
                    continue
                seen.add(used)
                print(used)
                for line in process.stdout:
                    print(f"  {line.rstrip()}", flush=True)
    return 0 if check_code(binary) else 1


if __name__ == "__main__":
    sys.exit(main())
