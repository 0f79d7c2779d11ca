"""A diffusion model draws what goes with a number, of any shape, and the same again after a restart."""

import numpy as np

from hpcml.online.diffusion import Diffusion


def learned():
    """Number -1 goes with two small regions, number 1 with a third."""
    rng = np.random.default_rng(0)
    centers = np.array([[0.2, 0.2], [0.2, 0.8], [0.8, 0.5]])
    which = np.repeat([0, 1, 2], 100)
    points = np.clip(centers[which] + 0.03 * rng.standard_normal((300, 2)), 0, 1)
    model = Diffusion(2, 0)
    model.fit(points, np.where(which == 2, 1.0, -1.0), np.ones(300), 1200, 128, ("fit",))
    return model, centers


def test_what_is_drawn_goes_with_the_number():
    model, centers = learned()
    for number, expected in ((-1.0, [0.5, 0.5, 0.0]), (1.0, [0.0, 0.0, 1.0])):
        drawn = model.draw(np.full(400, number), ("draw", int(number > 0)))
        assert ((drawn >= 0) & (drawn <= 1)).all()
        shares = [(np.abs(drawn - center).max(1) < 0.15).mean() for center in centers]
        assert sum(shares) > 0.9, shares
        # A binomial share of 400 deviates by 0.025; the model adds what it has not learned.
        np.testing.assert_allclose(shares, expected, atol=0.15)


def test_a_weight_of_nothing_is_not_learned():
    points, model = np.array([[0.1], [0.9]]).repeat(50, 0), Diffusion(1, 0)
    model.fit(points, np.zeros(100), (points[:, 0] > 0.5).astype(float), 300, 64, ("fit",))
    assert (model.draw(np.zeros(200), ("draw",)) > 0.5).all()


def test_after_a_restart_it_draws_the_same():
    model, _ = learned()
    again = Diffusion(2, 0)
    again.go_on(model.state())
    numbers = np.linspace(-1, 1, 50)
    assert (again.draw(numbers, ("draw",)) == model.draw(numbers, ("draw",))).all()
    assert (again.draw(numbers, ("another",)) != model.draw(numbers, ("draw",))).any()
