"""Operators, one file each. Importing this registers them; a new one is one more line here."""

from polypool.poolings.attention import AttentionPool
from polypool.poolings.attentive_stats import AttentiveStatsPool
from polypool.poolings.concat import Concat
from polypool.poolings.first import FirstPool
from polypool.poolings.gated_attention import GatedAttentionPool
from polypool.poolings.gem import GeMPool
from polypool.poolings.last import LastPool
from polypool.poolings.logsumexp import LogSumExpPool
from polypool.poolings.max import MaxPool
from polypool.poolings.mean import MeanPool
from polypool.poolings.mean_sqrt_len import MeanSqrtLenPool
from polypool.poolings.median import MedianPool
from polypool.poolings.min import MinPool
from polypool.poolings.moments import MomentsPool
from polypool.poolings.position_weighted import PositionWeightedPool
from polypool.poolings.power import PowerPool
from polypool.poolings.quantile import QuantilePool
from polypool.poolings.softmax import SoftmaxPool
from polypool.poolings.std import StdPool
from polypool.poolings.sum import SumPool
from polypool.poolings.top_k import TopKPool
from polypool.poolings.trimmed import TrimmedPool
from polypool.poolings.var import VarPool

__all__ = [
    "AttentionPool",
    "AttentiveStatsPool",
    "Concat",
    "FirstPool",
    "GatedAttentionPool",
    "GeMPool",
    "LastPool",
    "LogSumExpPool",
    "MaxPool",
    "MeanPool",
    "MeanSqrtLenPool",
    "MedianPool",
    "MinPool",
    "MomentsPool",
    "PositionWeightedPool",
    "PowerPool",
    "QuantilePool",
    "SoftmaxPool",
    "StdPool",
    "SumPool",
    "TopKPool",
    "TrimmedPool",
    "VarPool",
]
