import numpy as np
import pytest

from aepretrain.report.mosaic import as_image
from aepretrain.report.pictures import draw_curves, draw_filters, draw_image_rows


def shown(axes):
    """The drawn image in grey, NaN between its pictures."""
    image = np.asarray(axes.images[0].get_array())
    return np.where(image[..., 3] > 0, image[..., 0], np.nan)


def test_each_filter_is_scaled_by_its_own_largest_weight_and_zero_is_grey():
    weights = np.zeros((2, 3, 3))
    weights[0, 0, 0], weights[0, 2, 2] = 2.0, -1.0
    (axes,) = draw_filters(weights).axes
    first, gap, second = np.split(shown(axes), [3, 4], axis=1)
    assert (first[0, 0], first[2, 2], first[1, 1]) == (1.0, 0.25, 0.5)
    assert np.isnan(gap).all()
    assert (second == 0.5).all()


def test_no_more_filters_are_drawn_than_were_asked_for():
    figure = draw_filters(np.random.default_rng(0).random((30, 1, 4, 4)), most=7, columns=4)
    assert shown(figure.axes[0]).shape == (2 * 4 + 1, 4 * 4 + 3)
    assert np.isnan(shown(figure.axes[0])[5:, 15:]).all()  # the eighth place
    assert "7 of 30" in figure.get_suptitle()


def test_rows_of_images_have_their_names_and_their_range():
    figure = draw_image_rows(
        {"original": np.full((2, 1, 4, 4), 3.0), "restored": np.zeros((2, 1, 4, 4))}, low=-1, high=3
    )
    assert [axes.get_ylabel() for axes in figure.axes] == ["original", "restored"]
    for axes, expected in zip(figure.axes, (1, 0.25), strict=True):
        pictures = shown(axes)
        assert pictures.shape == (4, 9)
        assert set(pictures[~np.isnan(pictures)]) == {expected}


@pytest.mark.parametrize(("shape", "expected"), [((4, 5), (4, 5)), ((1, 4, 5), (4, 5)), ((3, 4, 5), (4, 5, 3))])
def test_channels_go_where_matplotlib_wants_them(shape, expected):
    assert as_image(np.zeros(shape)).shape == expected


def test_curves_show_each_loss_and_mark_the_kept_epoch():
    epochs = [{"train/loss": 3.0, "val/loss": 4.0}, {"train/loss": 1.0, "val/loss": 2.0}]
    lines = {line.get_label(): list(line.get_ydata()) for line in draw_curves(epochs, kept_epoch=1).axes[0].lines}
    assert lines["training loss"] == [3.0, 1.0]
    assert lines["validation loss"] == [4.0, 2.0]
    assert "reconstruction" not in lines
    assert draw_curves(epochs, kept_epoch=1).axes[0].lines[-1].get_xdata()[0] == 1
