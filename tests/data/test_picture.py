"""A picture becomes the bytes that a person sees: 16 bits, alpha, orientation, palettes, inks; else it is refused."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from aepretrain import DataError
from aepretrain.data.picture import endings, read_picture

DEEP = np.array([[0, 128, 129, 257, 385, 386, 32768, 65535]], np.uint16)
ROUNDED = np.round(DEEP / 257).astype(np.uint8)
UPRIGHT = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
AS_STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}
"""How a camera stores the upright picture, by EXIF orientation: 6 means "turn me by 90 degrees to the right"."""


def pixels(path, *, grey=True, background="white"):
    return np.asarray(read_picture(path, grey=grey, background=background).image)


def png(row, *, width, depth, colour, transparent=b""):
    """A PNG file of one row in a layout that Pillow cannot write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0))
    key = chunk(b"tRNS", transparent) if transparent else b""
    return b"\x89PNG\r\n\x1a\n" + header + key + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.png", DEEP),
        ("little.tif", DEEP),
        ("big.tif", DEEP.astype(">u2")),
        ("whole.tif", DEEP.astype(np.int32)),
        ("a.pgm", DEEP),
        ("a.jp2", DEEP),
    ],
)
def test_sixteen_bits_are_scaled_to_eight_and_rounded(name, values, tmp_path):
    Image.fromarray(values).save(tmp_path / name)
    assert pixels(tmp_path / name).tolist() == ROUNDED.tolist()
    assert pixels(tmp_path / name, grey=False)[:, :, 2].tolist() == ROUNDED.tolist()
    assert read_picture(tmp_path / name, grey=True, background="white").largest == 65535


def test_sixteen_bits_with_white_at_zero_are_inverted(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "a.tif", tiffinfo={262: 0})
    assert pixels(tmp_path / "a.tif").tolist() == (255 - ROUNDED).tolist()


def test_twelve_bits_are_scaled_by_their_own_range(tmp_path):
    tags = {256: 3, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 5}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    packed = bytes.fromhex("000 800 fff 0".replace(" ", ""))
    head = b"II*\0" + struct.pack("<I", 14) + packed + b"\0" + struct.pack("<H", len(tags))
    (tmp_path / "a.tif").write_bytes(head + entries + b"\0\0\0\0")
    assert pixels(tmp_path / "a.tif").tolist() == [[0, 128, 255]]
    assert read_picture(tmp_path / "a.tif", grey=True, background="white").largest == 65535


def test_sixteen_bits_per_colour_keep_their_upper_eight(tmp_path):
    row = struct.pack(">HHH", 0, 511, 65535)
    (tmp_path / "a.png").write_bytes(png(row, width=1, depth=16, colour=2))
    assert pixels(tmp_path / "a.png", grey=False).tolist() == [[[0, 1, 255]]]
    assert read_picture(tmp_path / "a.png", grey=True, background="white").is_cut
    (tmp_path / "a.png").write_bytes(png(row, width=1, depth=16, colour=2, transparent=row))
    with pytest.raises(DataError, match="16 bits per colour and a transparent colour"):
        pixels(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (DEEP.astype(np.float32), r"its values are floats, whose range is not known"),
        (DEEP.astype(np.int32) + 1, r"its values reach from 1 to 65,536, beyond 65,535"),
        (DEEP.astype(np.int32) - 1, r"its values reach from -1 to 65,534, beyond 65,535"),
    ],
)
def test_values_without_a_known_range_are_refused_by_name(values, message, tmp_path):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif cannot be decoded: {message}"):
        pixels(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_alpha_lets_the_background_through(name, tmp_path):
    ink = np.zeros((1, 4, 4), np.uint8)
    ink[0, :, 0], ink[0, :, 3] = 200, [0, 255, 128, 1]
    Image.fromarray(ink).save(tmp_path / name, **({"lossless": True, "exact": True} if "webp" in name else {}))
    for background, behind in (("white", 255), ("black", 0)):
        share = ink[..., 3:] / 255
        expected = np.round(ink[..., :3] * share + behind * (1 - share))
        assert pixels(tmp_path / name, grey=False, background=background).tolist() == expected.tolist()


def test_ink_that_is_in_the_alpha_channel_alone_is_seen(tmp_path):
    ink = np.zeros((2, 2, 4), np.uint8)
    ink[0, 0, 3] = 255
    Image.fromarray(ink).save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[0, 255], [255, 255]]
    assert not read_picture(tmp_path / "a.png", grey=True, background="white").is_blank
    assert read_picture(tmp_path / "a.png", grey=True, background="black").is_blank


def test_grey_with_alpha_and_a_transparent_grey_are_composed(tmp_path):
    Image.fromarray(np.array([[[0, 0], [0, 255], [100, 128]]], np.uint8)).save(tmp_path / "la.png")
    assert pixels(tmp_path / "la.png").tolist() == [[255, 0, 177]]
    assert pixels(tmp_path / "la.png", grey=False, background="black")[..., 1].tolist() == [[0, 0, 50]]
    Image.fromarray(np.array([[7, 9]], np.uint8)).save(tmp_path / "l.png", transparency=7)
    assert pixels(tmp_path / "l.png").tolist() == [[255, 9]]
    Image.fromarray(DEEP).save(tmp_path / "deep.png", transparency=65535)
    assert pixels(tmp_path / "deep.png", background="black").tolist() == [[*ROUNDED[0, :-1], 0]]
    (tmp_path / "l4.png").write_bytes(png(b"\x5a", width=2, depth=4, colour=0, transparent=b"\0\5"))
    assert pixels(tmp_path / "l4.png").tolist() == [[255, 170]]
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "1.png", transparency=1)
    assert pixels(tmp_path / "1.png", background="black").tolist() == [[0, 0]]


@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_a_palette_is_its_colours_and_its_transparent_entry_the_background(name, tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / name, transparency=1)
    assert pixels(tmp_path / name, grey=False).tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]


def test_one_bit_and_four_inks_are_what_they_show(tmp_path):
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "1.tif", compression="group4")
    assert pixels(tmp_path / "1.tif").tolist() == [[0, 255]]
    for name in ("c.tif", "c.jpg"):
        Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / name)
        assert pixels(tmp_path / name, grey=False)[0, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.tif", {}), ("b.tif", {"compression": "tiff_lzw"})])
@pytest.mark.parametrize("orientation", AS_STORED)
def test_a_picture_is_turned_as_its_exif_says(orientation, name, options, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(AS_STORED[orientation])).save(tmp_path / name, exif=exif, **options)
    assert pixels(tmp_path / name).tolist() == UPRIGHT.tolist()


def test_a_photograph_taken_upright_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.zeros((16, 32), np.uint8)
    stored[:, :16] = 255
    Image.fromarray(stored).save(tmp_path / "a.jpg", exif=exif)
    assert pixels(tmp_path / "a.jpg").shape == (32, 16)
    assert pixels(tmp_path / "a.jpg")[0, 0] == 255
    assert pixels(tmp_path / "a.jpg")[31, 0] == 0


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_a_picture_with_damaged_exif_is_taken_as_it_lies(name, tmp_path):
    options = {"lossless": True} if "webp" in name else {}
    Image.fromarray(UPRIGHT).save(tmp_path / name, exif=b"Exif\0\0garbage!!", **options)
    assert pixels(tmp_path / name).tolist() == UPRIGHT.tolist()
    assert read_picture(tmp_path / name, grey=True, background="white").is_unturned


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.png", "a.webp"])
def test_pages_after_the_first_are_counted(name, tmp_path):
    pages = [Image.fromarray(np.full((4, 4), 50 * k, np.uint8)) for k in range(4)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    assert read_picture(tmp_path / name, grey=True, background="white").pages == 4
    assert pixels(tmp_path / name).max() < 10


def test_content_decides_and_postscript_is_never_run(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr("subprocess.check_call", lambda *words, **kwargs: started.append(words))
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(DataError, match=r"a\.png cannot be decoded: its content is none of AVIF, BMP"):
        pixels(tmp_path / "a.png")
    assert not started
    assert ".eps" not in endings()
    Image.fromarray(UPRIGHT).save(tmp_path / "b.bmp")
    (tmp_path / "b.bmp").rename(tmp_path / "b.jpg")
    assert pixels(tmp_path / "b.jpg").tolist() == UPRIGHT.tolist()


def test_damaged_files_are_refused_in_one_line_that_names_them(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50), dtype=np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for damaged in (b"", whole[:20], whole[:1000], whole[:200] + b"\xff" * 200 + whole[400:]):
        (tmp_path / "a.png").write_bytes(damaged)
        with pytest.raises(DataError, match=r"^.*a\.png cannot be decoded: .+$"):
            pixels(tmp_path / "a.png")
    (tmp_path / "dead.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match=r"dead\.png cannot be decoded: it is a link that leads nowhere"):
        pixels(tmp_path / "dead.png")
