"""Snake's written-out derivatives are those of its formula, and eval mode keeps every transform."""

import pytest
import torch

from pellucid.nn.snake import Snake


def learnt(channels=3):
    snake = Snake(channels).double()
    with torch.no_grad():
        snake.log_alpha.copy_(torch.linspace(-1.0, 1.5, channels))
    return snake


@pytest.mark.parametrize("shape", [(2, 3, 50), (1, 3, 1)])
def test_gradients_in_train_mode_are_those_of_the_formula(shape):
    snake = learnt()
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    weights = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for mode in (True, False):
        snake.train(mode)
        leaf = x.clone().requires_grad_()
        y = snake(leaf)
        found.append((y, *torch.autograd.grad((y * weights).sum(), (leaf, snake.log_alpha))))
    torch.testing.assert_close(*found)
    assert torch.autograd.gradcheck(snake.train(), x.requires_grad_())


def test_half_precision_gets_its_gradient_in_its_own_type():
    snake = Snake(3)
    x = torch.randn(2, 3, 20).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = snake(x)
    (gradient,) = torch.autograd.grad(y.float().sum(), x)
    assert y.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    exact = 1 + torch.sin(2 * x.float())
    torch.testing.assert_close(gradient.float(), exact, atol=0.02, rtol=0.02)


def test_forward_mode_derivatives_pass_in_eval_mode():
    snake = learnt().eval()
    x, v = torch.randn(2, 2, 3, 10, dtype=torch.float64)
    _, along = torch.func.jvp(snake, (x,), (v,))
    alpha = snake.log_alpha.exp()[:, None]
    torch.testing.assert_close(along, v * (1 + torch.sin(2 * alpha * x)))
