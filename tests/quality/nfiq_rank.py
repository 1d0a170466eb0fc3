#!/usr/bin/env python3
"""How well does our fingerprint score rank prints? Compares it with NFIQ 2.3 on the output of the `ladder` example.

    cargo run -p biosim-image --example ladder -- DIRECTORY [SEED] [FINGERS] [STEPS]
    python3 -m venv VENV && VENV/bin/pip install nbis-py
    VENV/bin/python tests/quality/nfiq_rank.py DIRECTORY

nbis-py wraps NBIS and NFIQ 2.3 (public domain). Exit status 1 when Spearman's rank correlation is below 0.8.
Prints that NFIQ 2 refuses to score count as 0.
"""

import csv
import pathlib
import struct
import sys
import zlib

import nbis

TARGET = 0.8


def png(pgm: bytes) -> bytes:
    """A grey PNG from the PGM that the example writes (nbis-py reads no PGM)."""
    magic, size, depth, pixels = pgm.split(b"\n", 3)
    assert (magic, depth) == (b"P5", b"255"), "not a PGM of ours"
    width, height = map(int, size.split())
    rows = b"".join(b"\0" + pixels[y * width : (y + 1) * width] for y in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def ranks(values: list[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for index in order[start:end]:
            result[index] = (start + end + 1) / 2
        start = end
    return result


def correlation(a: list[float], b: list[float]) -> float:
    """Pearson's; of ranks it is Spearman's."""
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b))
    spread = (sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)) ** 0.5
    return covariance / spread if spread else 0.0


def main() -> int:
    directory = pathlib.Path(sys.argv[1])
    # SIVV ("is this a fingerprint at all") must be off: it zeroes valid prints.
    extractor = nbis.new_nbis_extractor(
        nbis.NbisExtractorSettings(
            min_quality=0.0, get_center=False, check_fingerprint=False, compute_nfiq2=True, ppi=500.0
        )
    )
    knobs: dict[float, list[tuple[float, float]]] = {}
    with open(directory / "scores.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    refused = 0
    for row in rows:
        try:
            score = float(extractor.extract_minutiae(png((directory / row["file"]).read_bytes())).quality().score)
        except Exception:
            score, refused = 0.0, refused + 1
        row["nfiq"] = score
        knobs.setdefault(float(row["knob"]), []).append((float(row["score"]), score))

    print(f"{'knob':>6} {'ours':>6} {'NFIQ 2':>7}   (means)")
    for knob, pairs in sorted(knobs.items()):
        ours, theirs = (sum(column) / len(pairs) for column in zip(*pairs))
        print(f"{knob:6.2f} {ours:6.1f} {theirs:7.1f}")
    ours, theirs = [float(row["score"]) for row in rows], [row["nfiq"] for row in rows]
    spearman = correlation(ranks(ours), ranks(theirs))
    print(f"{len(rows)} prints, {refused} refused by NFIQ 2; Spearman {spearman:.3f} (target {TARGET})")
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w", newline="") as out:
            writer = csv.DictWriter(out, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return 0 if len(rows) >= 60 and spearman >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
