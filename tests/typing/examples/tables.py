"""Tables of an application: what keys and values are."""

import faustc as faust

app = faust.App("shop")
counts: faust.Table[str, int] = app.Table("counts", default=int)
rates: faust.GlobalTable[str, float] = app.GlobalTable("rates")


@app.agent(app.topic("words", value_type=str))
async def count(words: faust.Stream[str]) -> None:
    async for word in words:
        counts[word] += 1
        total: int = counts[word]
        counts[word] = "one"  # E: assignment
        counts[1] = 1  # E: index
        print(total, rates.get(word, 0.0) * 2)


def totals() -> dict[str, int]:
    for word, number in counts.items():
        print(word.upper(), number + 1)
    gone: int | None = counts.pop("a", None)
    print(gone)
    return counts.copy()
