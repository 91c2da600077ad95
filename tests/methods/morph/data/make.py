"""Make the files beside this one with PyTorch itself (2.13 here), which the tests do without.

`net.pt` and `net_stream.pt` are one state dict in the zip format and in the one before PyTorch 1.6;
`frames.npz` is what the peer's rules make of them: unit cube, ten Euler steps, trilinear shares.
"""

from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent


class Field(torch.nn.Module):
    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        sizes = [3] + [width] * (depth - 1) + [3]
        self.layers = []
        for i in range(depth):
            self.layers.append(torch.nn.Linear(sizes[i], sizes[i + 1]))
            self.add_module(f"n{i}", self.layers[-1])

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.nn.functional.leaky_relu(layer(x))
        return self.layers[-1](x)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.v = Field(6, 3)


def splat(x, mass, n: int):
    u = x * n - 0.5
    low = torch.floor(u)
    frame = torch.zeros(n, n, n)
    for corner in torch.cartesian_prod(*[torch.arange(2)] * 3):
        share = torch.where(corner == 1, u - low, 1 - u + low).prod(1) * mass
        place = low.long() + corner
        inside = ((place >= 0) & (place < n)).all(1)
        frame.index_put_(tuple(place[inside].T), share[inside], accumulate=True)
    return frame


torch.manual_seed(5)
net = Net()
for parameter in net.parameters():
    torch.nn.init.normal_(parameter, 0, 0.35)
torch.save(net.state_dict(), HERE / "net.pt")
torch.save(net.state_dict(), HERE / "net_stream.pt", _use_new_zipfile_serialization=False)
n = 6
density = torch.rand(n, n, n)
x = (torch.argwhere(density > 0) + 0.5) / n
frames = [splat(x, density.flatten(), n)]
with torch.no_grad():
    for _ in range(10):
        x = x + net.v(x) / 10
        frames.append(splat(x, density.flatten(), n))
state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
np.savez_compressed(HERE / "frames.npz", frames=torch.stack(frames).numpy(), **state)
