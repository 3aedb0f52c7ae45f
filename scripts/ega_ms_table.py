"""Print the records of `scripts/ega_ms.sh` as a Markdown table, best first.

python scripts/ega_ms_table.py runs/ega_ms > reports/ega_ms/table.md
"""

import sys

from marsbench.results.store import Store

HEAD = (
    "| model | mode | seed | raster | draws | log loss | micro AP | SAM log loss | minutes |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)


def main() -> None:
    """Read the store and print."""
    records, bad = Store(sys.argv[1]).records()
    for error in bad:
        sys.stderr.write(f"{error}\n")
    sys.stdout.write("\n".join(HEAD) + "\n")
    for record in sorted(records, key=lambda r: (r.score is None, r.score or 0.0)):
        found = record.metrics[record.scored_split]
        sam = found.get("log_loss/instrument=sam_testbed")
        how = "weighed, " if "weights" in record.checkpoint else "mean "
        of = f", {how}of {len(record.parents)} runs" if record.parents else ""
        draws = "" if of else record.identity.get("views", 1)
        minutes = (record.timing["train"] + record.timing["eval"]) / 60
        sys.stdout.write(
            f"| {record.model}{of} | {record.mode} | {'' if of else record.seed} | "
            f"{record.config.get('raster') or ''} | {draws} | "
            f"{found['log_loss']:.4f} | {found['ap_micro']:.4f} | "
            f"{'' if sam is None else f'{sam:.3f}'} | {minutes:.1f} |\n"
        )


if __name__ == "__main__":
    main()
