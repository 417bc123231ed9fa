"""Fields in which replicas of a pack may differ: found by annotation, and lined up with what they multiply."""

from dataclasses import dataclass

import pytest
import torch

from bench.jobs.build import ConfigError, build
from bench.pack.fields import PerReplica, column, indexed, joined, per_replica_fields
from tasks.ranges import Checked, Positive


@dataclass(frozen=True)
class Rule(Checked):
    bare: PerReplica
    ranged: PerReplica[Positive]
    shared: float


def test_a_field_is_per_replica_with_and_without_a_range():
    assert per_replica_fields(Rule(1.0, 2.0, 3.0)) == ["bare", "ranged"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bare": float("nan")}, "rule.bare=nan: must be a finite number"),
        ({"bare": "x"}, "rule.bare=x: must be a number"),
        ({"ranged": 0}, "rule.ranged=0.0: must be a finite number > 0"),
    ],
)
def test_a_yaml_gives_a_number_for_either(fields, message):
    node = {"bare": 1, "ranged": 2, "shared": 3}
    assert build(Rule, node, "rule") == Rule(1.0, 2.0, 3.0)
    with pytest.raises(ConfigError) as error:
        build(Rule, {**node, **fields}, "rule")
    assert str(error.value) == message


def test_the_component_of_a_pack_holds_the_numbers_of_all():
    pack = joined([Rule(float(r), 1.0 + r, 3.0) for r in range(3)])
    assert pack.bare.tolist() == [0, 1, 2]
    assert (pack.ranged.dtype, pack.shared) == (torch.float64, 3.0)
    assert indexed(pack, [2, 0]).ranged.tolist() == [3, 1]


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 2, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_column_multiplies_each_replica_by_its_own_number(shape, dtype):
    like, own = torch.ones(shape, dtype=dtype), torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    for values in (own, 0.7):
        product = column(values, like) * like
        assert (product.dtype, product.shape) == (dtype, shape)
        for r in range(3):
            number = float(values[r]) if values is own else values
            assert (product[r] == torch.tensor(number, dtype=dtype)).all()
