"""Named lists of the matrices that an optimizer of a model solves, and the ways to share them out."""

from typing import NamedTuple

Shape = tuple[int, int]


class Transformer(NamedTuple):
    """Sizes of a Llama-like transformer, whose embeddings and head are no matrices for Muon."""

    width: int
    layers: int
    hidden: int
    key_values: int

    def shapes(self) -> list[Shape]:
        """The weights `[out, in]`, layer by layer."""
        width, hidden = self.width, self.hidden
        attention = [(width, width), (self.key_values, width), (self.key_values, width), (width, width)]
        return [*attention, (hidden, width), (hidden, width), (width, hidden)] * self.layers


# Rows that 2 and 4 do not divide, or fewer than those.
_ODD = [(35, 35), (50, 33), (3, 40), (33, 70)]

LISTS: dict[str, list[Shape]] = {
    "small": Transformer(width=96, layers=2, hidden=256, key_values=24).shapes() + _ODD,
    "1b": Transformer(width=2048, layers=16, hidden=8192, key_values=512).shapes(),
    "70b": Transformer(width=8192, layers=80, hidden=28672, key_values=1024).shapes(),
}


class Scheme(NamedTuple):
    """How an optimizer's processes hold parameters: as `replicas`, in `shards`, or in `both` ways."""

    name: str
    optimizer: str
    held: str
    shard_state: bool = False

    def grid(self, processes: int, shards: int) -> tuple[int, int]:
        """The numbers of replicas and of shards; of both there are at most `shards` of the latter."""
        if self.held == "replicas":
            return processes, 1
        if self.held == "shards":
            return 1, processes
        shards = min(shards, processes)
        return processes // shards, shards


SCHEMES = [
    Scheme("Muon, DDP", "Muon", "replicas"),
    Scheme("Muon, FSDP2", "Muon", "shards"),
    Scheme("Muon, HSDP", "Muon", "both"),
    Scheme("Shampoo, DDP", "Shampoo", "replicas"),
    Scheme("Shampoo, DDP+state", "Shampoo", "replicas", shard_state=True),
    Scheme("Shampoo, FSDP2", "Shampoo", "shards"),
    Scheme("Shampoo, HSDP", "Shampoo", "both"),
    Scheme("Shampoo, HSDP+state", "Shampoo", "both", shard_state=True),
]
