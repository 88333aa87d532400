"""Small images of every kind that an image folder may hold, and what Pillow and torchvision make of
them: `Resize(24)` and `CenterCrop(24)` of the image in colours, and of the image in grey.

Run from the repository's root: python tests/reference/image_folder.py
Writes tests/fixtures/image-folder/NAME and NAME.expected (3 x 24 x 24 bytes, then 24 x 24).
"""

import pathlib

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

FOLDER = pathlib.Path("tests/fixtures/image-folder")
SIDE = 24


def picture(width, height):
    """Smooth colours with an edge and some noise, as photographs have them."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    red = 127 + 100 * np.sin(x / 7.0) * np.cos(y / 11.0)
    green = 255 * x / width
    blue = np.where(x + 2 * y > width, 220, 40)
    pixels = np.stack([red, green, blue], -1)
    noise = np.random.default_rng(0).normal(0, 6, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def images():
    wide, tall = picture(61, 40), picture(33, 50)
    yield "rgb.png", wide, {}
    yield "small.png", picture(17, 11), {}
    yield "exact.png", picture(24, 24), {}
    yield "grey.png", tall.convert("L"), {}
    yield "grey-alpha.png", tall.convert("LA"), {}
    alpha = wide.copy()
    alpha.putalpha(wide.convert("L"))
    yield "rgba.png", alpha, {}
    yield "palette.png", wide.quantize(16), {}
    yield "one-bit.png", tall.convert("1"), {}
    yield "rgb.jpg", wide, {"quality": 90, "subsampling": 0}
    yield "subsampled.jpg", tall, {"quality": 90, "subsampling": 2}
    yield "progressive.jpg", wide, {"quality": 90, "progressive": True}
    yield "grey.jpg", tall.convert("L"), {"quality": 90}
    yield "cmyk.jpg", wide.convert("CMYK"), {"quality": 95}
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    yield "turned.jpg", wide, {"quality": 90, "subsampling": 0, "exif": exif}


def square(image):
    image = Resize(SIDE, InterpolationMode.BILINEAR, antialias=True)(image)
    return np.asarray(CenterCrop(SIDE)(image))


FOLDER.mkdir(parents=True, exist_ok=True)
for name, image, options in images():
    path = FOLDER / name
    image.save(path, **options)
    loaded = ImageOps.exif_transpose(Image.open(path))
    colours = square(loaded.convert("RGB")).transpose(2, 0, 1)
    grey = square(loaded.convert("RGB").convert("L"))
    (FOLDER / f"{name}.expected").write_bytes(colours.tobytes() + grey.tobytes())
