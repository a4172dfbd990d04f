import torch
from torch import nn

from medgen.networks.shadow_weights import ShadowWeights, statistics_of


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2), nn.Conv3d(2, 1, 1))


def test_statistics_are_found():
    assert statistics_of(network()) == ("1.running_mean", "1.running_var", "1.num_batches_tracked")
    assert statistics_of(nn.InstanceNorm3d(2)) == ()


def test_a_pass_inside_the_block_updates_the_copies_alone():
    net = network()
    other = ShadowWeights(net, statistics_of(net))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x = torch.randn(4, 1, 3, 3, 3) + 5
    with other.used_by(net):
        net(x)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    moved = other.get_buffer("1/running_mean")
    assert torch.allclose(moved, 0.1 * net[0](x).mean(dim=(0, 2, 3, 4)), atol=1e-6)


def test_a_failure_inside_the_block_puts_the_tensors_back():
    net = network()
    other, mean = ShadowWeights(net, statistics_of(net)), net[1].running_mean
    try:
        with other.used_by(net):
            raise RuntimeError
    except RuntimeError:
        pass
    assert net[1].running_mean is mean


def test_a_teacher_follows_weights_and_gets_no_gradient():
    net = network()
    teacher = ShadowWeights(net, net.state_dict())
    assert list(teacher.parameters()) == []
    with torch.no_grad():
        net[0].weight.add_(1.0)
    start = teacher.get_buffer("0/weight").clone()
    teacher.follow(net, decay=0.75)
    assert torch.allclose(teacher.get_buffer("0/weight"), start + 0.25)
    with torch.no_grad(), teacher.used_by(net):
        taught = net.eval()(torch.ones(1, 1, 2, 2, 2))
    assert not torch.equal(taught, net(torch.ones(1, 1, 2, 2, 2)))
