"""
Coarsening a graph: average or sum
==================================

**The claim.** Merging the nodes of a graph cluster by cluster makes it smaller. The sum keeps totals, the average keeps
levels.

**What is measured.** Districts of a country, each with a population (an amount) and a temperature (a level), merged
twice: districts to counties of about equal area, counties to regions. Half of the districts are in one warm city, so
the clusters hold unequal numbers of them. After each step: what is left of the total population, and how far the mean
temperature is from that of the districts. Then the regions are lifted back to the districts.

**Where the claim stops being true.** The average of averages is not the average: a county with one district counts as
much as the city. What the sum leaves behind repairs it. The merged masses, carried along as weights, make the weighted
average exact at any depth. Neither brings back what a cluster's members did not share: lifting keeps the variance
between the clusters and loses the variance inside. And an average cannot count: a country and two copies of it have the
same one, while sums double, and what comes after a sum has to expect numbers of any size.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

import polypool as pp

STEPS = (30, 6)
LEVELS = ("districts", "counties", "regions")
STYLES = {"sum": ("#0072B2", "o"), "average": ("#D55E00", "s"), "weighted average": ("#009E73", "^")}


@dataclass(frozen=True)
class Graph:
    """A level of the hierarchy.

    Attributes:
        place: `(N, 2)`.
        edges: `(2, E)`.
        population: `(N, 1)`, by sums.
        average_population: `(N, 1)`, by averages.
        mass: `(N, 1)`, how many districts are in each node.
        temperature: `(N, 1)`, by averages weighted by the merged mass.
        average_temperature: `(N, 1)`, by averages of averages.
    """

    place: Tensor
    edges: Tensor
    population: Tensor
    average_population: Tensor
    mass: Tensor
    temperature: Tensor
    average_temperature: Tensor


@dataclass(frozen=True)
class Result:
    """What the page measures.

    Attributes:
        numbers: What is printed.
        graphs: The three levels of the first country.
        lifted: The temperature of its regions at its districts, `(N, 1)`.
        population: The total after 0, 1, 2 steps as a share of the true one, `(countries, 3)`, for each way.
        temperature: The mean after 0, 1, 2 steps less the true one, in degrees, `(countries, 3)`, for each way.
    """

    numbers: dict[str, float]
    graphs: list[Graph]
    lifted: Tensor
    population: dict[str, Tensor]
    temperature: dict[str, Tensor]


# %%
# A country, and what is next to what
# -----------------------------------


def country(seed: int, districts: int = 240) -> Graph:
    """Half of the districts in a city, the others anywhere; each linked to its three nearest."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(districts, 2, generator=generator, dtype=torch.float64)
    city = torch.tensor([0.62, 0.4], dtype=torch.float64)
    place[: districts // 2] = city + 0.08 * torch.randn(districts // 2, 2, generator=generator)
    closeness = (-(place - city).square().sum(1, keepdim=True) / 0.03).exp()
    noise = torch.randn(districts, 1, generator=generator, dtype=torch.float64)
    temperature = 12 + 8 * closeness - 6 * place[:, 1:] + noise
    population = 5 + 30 * torch.rand(districts, 1, generator=generator, dtype=torch.float64)
    nearest = torch.cdist(place, place).fill_diagonal_(torch.inf).topk(3, largest=False).indices
    edges = torch.stack([torch.arange(districts).repeat_interleave(3), nearest.flatten()])
    mass = torch.ones_like(population)
    return Graph(place, edges, population, population, mass, temperature, temperature)


def areas(place: Tensor, count: int) -> Tensor:
    """A cluster for each node: that of the nearest centre. Each centre is the node farthest from those before."""
    centres = [0]
    for _ in range(count - 1):
        centres.append(int(torch.cdist(place, place[centres]).amin(1).argmax()))
    return torch.cdist(place, place[centres]).argmin(1)


# %%
# One step
# --------
# ``Clusters`` says who is merged; the poolings say into what. The weights of the third way are the masses that the
# first way summed.


def coarsened(graph: Graph, count: int) -> tuple[Graph, pp.Clusters]:
    """The graph of the clusters, and the layout that lifts back."""
    merge = areas(graph.place, count)
    total, average = pp.build("sum"), pp.build("mean")
    plain = pp.Clusters(graph.population, merge, count)
    weighted = pp.Clusters(graph.temperature, merge, count, weight=graph.mass[:, 0])
    coarse = Graph(
        place=average(weighted.with_values(graph.place)),
        edges=merge[graph.edges].unique(dim=1),
        population=total(plain),
        average_population=average(plain.with_values(graph.average_population)),
        mass=total(plain.with_values(graph.mass)),
        temperature=average(weighted),
        average_temperature=average(plain.with_values(graph.average_temperature)),
    )
    return coarse, plain


def hierarchy(seed: int) -> tuple[list[Graph], Tensor]:
    """The three levels, and the regions' temperature lifted to the districts."""
    graphs, layouts = [country(seed)], []
    for count in STEPS:
        coarse, layout = coarsened(graphs[-1], count)
        graphs.append(coarse)
        layouts.append(layout)
    lifted = graphs[-1].temperature
    for layout in reversed(layouts):
        lifted = layout.lift(lifted)
    return graphs, lifted


def measure(countries: int = 20) -> Result:
    """Coarsens random countries twice, and compares with the numbers of their districts."""
    population: dict[str, list[Tensor]] = {"sum": [], "average": []}
    temperature: dict[str, list[Tensor]] = {"average": [], "weighted average": []}
    explained, lost = [], []
    for seed in range(countries):
        graphs, lifted = hierarchy(seed)
        people = graphs[0].population.sum()
        level = graphs[0].temperature.mean()
        population["sum"].append(torch.stack([g.population.sum() for g in graphs]) / people)
        population["average"].append(torch.stack([g.average_population.sum() for g in graphs]) / people)
        temperature["average"].append(torch.stack([g.average_temperature.mean() for g in graphs]) - level)
        means = [(g.mass * g.temperature).sum() / g.mass.sum() for g in graphs]
        temperature["weighted average"].append(torch.stack(means) - level)
        variance = graphs[0].temperature.var(correction=0)
        inside = (graphs[0].temperature - lifted).square().mean()
        explained.append(lifted.var(correction=0) / variance)
        lost.append(inside / variance)
    shares = {way: torch.stack(runs) for way, runs in population.items()}
    degrees = {way: torch.stack(runs) for way, runs in temperature.items()}
    graphs, lifted = hierarchy(0)
    numbers: dict[str, float] = {}
    for way, runs in shares.items():
        for step, name in enumerate(LEVELS[1:], 1):
            numbers[f"share of the population, {way}, {name}"] = float(runs[:, step].mean())
    for way, runs in degrees.items():
        for step, name in enumerate(LEVELS[1:], 1):
            numbers[f"degrees off (rms), {way}, {name}"] = float(runs[:, step].square().mean().sqrt())
    numbers["variance between regions, kept by lifting"] = float(torch.stack(explained).mean())
    numbers["variance inside regions, lost"] = float(torch.stack(lost).mean())
    twice = graphs[0].population.repeat(2, 1)
    for name in ("mean", "sum"):
        pool = pp.build(name)
        ratio = pool(pp.Nodes(twice)) / pool(pp.Nodes(graphs[0].population))
        numbers[f"{name} of two copies over that of one"] = float(ratio)
    return Result(numbers, graphs, lifted, shares, degrees)


def draw(result: Result) -> Figure:
    """The levels and the lifted temperature on top, what each way keeps below."""
    figure = plt.figure(figsize=(9.5, 5.8), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1), squeeze=False)[:, 0]
    maps = above.subplots(1, 4)
    colours = dict(cmap="cividis", vmin=6, vmax=19)
    for ax, graph, name in zip(maps, result.graphs, LEVELS, strict=False):
        ends = graph.place[graph.edges].transpose(0, 1).numpy()
        ax.add_collection(LineCollection(list(ends), colors="0.75", linewidths=0.6, zorder=0))
        shown = ax.scatter(
            *graph.place.T, s=graph.mass[:, 0] * 6, c=graph.temperature[:, 0], ec="k", lw=0.3, **colours
        )
        ax.set_title(f"{len(graph.place)} {name}")
    first = result.graphs[0]
    maps[3].scatter(*first.place.T, s=6, c=result.lifted[:, 0], ec="k", lw=0.3, **colours)
    maps[3].set_title("regions lifted to districts")
    for ax in maps:
        ax.set(xticks=[], yticks=[], aspect="equal", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    above.colorbar(shown, ax=maps, shrink=0.7, label="temperature (area: districts merged)")
    left, right = below.subplots(1, 2)
    panels: list[tuple[Axes, dict[str, Tensor]]] = [(left, result.population), (right, result.temperature)]
    for ax, ways in panels:
        for way, runs in ways.items():
            colour, marker = STYLES[way]
            ax.plot(range(3), runs.T, color=colour, lw=0.6, alpha=0.35)
            ax.plot(range(3), runs.mean(0), color=colour, marker=marker, lw=2, label=way)
        ax.set_xticks(range(3), LEVELS)
        ax.legend(fontsize=9)
    left.set(title="An amount", ylabel="total population, share of the true one", ylim=(0, 1.1))
    right.set(title="A level", ylabel="mean temperature, degrees off")
    return figure


# %%
# What came out
# -------------
# Sums keep the population to rounding, and the average weighted by summed masses keeps the mean temperature to
# rounding; two levels deep, as one. Averages of averages are cold by degrees, because the many small counties outvote
# the warm city. Lifting the regions brings back most of the variance of the districts: that between regions. The two
# shares add up to 1.

if __name__ == "__main__":
    result = measure()
    for name, value in result.numbers.items():
        print(f"{name:48} {value:10.4g}")
    draw(result)
    plt.show()
