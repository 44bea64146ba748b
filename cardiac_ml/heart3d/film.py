"""Films of the heart as GIF: frames, one palette for all of them, and a file that plays everywhere."""
import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cardiac_ml.files import atomic_write


def few_colours(png: bytes, colours: int = 200) -> bytes:
    """The same picture with a palette: a third of the bytes, hardly a difference to see."""
    picture = Image.open(io.BytesIO(png))
    flat = Image.new("RGB", picture.size, "white")
    flat.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    file = io.BytesIO()
    flat.quantize(colours, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
    return min(png, file.getvalue(), key=len)


def write_gif(path, frames: list[Image.Image], pause_ms: int, last_ms: int | None = None) -> Path:
    """Write frames as a GIF without end; the last one stands for ``last_ms``."""
    palette = shared_palette(frames)
    frames = [indexed(frame, palette) for frame in frames]
    pauses = [pause_ms] * (len(frames) - 1) + [last_ms or pause_ms]
    with atomic_write(path) as file:
        frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=pauses, loop=0)
    return Path(path)


def shared_palette(frames: list[Image.Image]) -> Image.Image:
    """The 256 colours of a GIF: 40 greys, white, the others spread over the colours that occur, each counted once."""
    sample = np.concatenate([np.asarray(frame).reshape(-1, 3) for frame in frames[:: max(1, len(frames) // 12)]])
    codes = np.unique((sample // 4).astype(np.int32) @ [4096, 64, 1])
    used = np.stack([codes // 4096, codes // 64 % 64, codes % 64], axis=1) * 4 + 2
    used = used[np.ptp(used, axis=1) > 16] if (np.ptp(used, axis=1) > 16).any() else used
    chosen = Image.fromarray(used[None].astype(np.uint8)).quantize(215, kmeans=2).getpalette()[:3 * 215]
    palette = Image.new("P", (1, 1))
    greys = [*np.linspace(60, 235, 40).round().astype(int).tolist(), 255]
    palette.putpalette(chosen + np.repeat(greys, 3).tolist())
    return palette


def indexed(frame: Image.Image, palette: Image.Image) -> Image.Image:
    """A frame in the palette's colours; a fine grain that stands still hides the steps between them."""
    grain = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) * 0.6 - 4.5
    whole = np.asarray(frame).astype(float)
    rows, columns = np.indices(whole.shape[:2]) % 4
    inked = whole.min(axis=2) < 250  # white stays white
    whole[inked] += grain[rows, columns][inked][:, None]
    grained = Image.fromarray(whole.clip(0, 255).astype(np.uint8))
    return grained.quantize(palette=palette, dither=Image.Dither.NONE)


def film_frame(pictures: list[np.ndarray], names: list[str], time: str) -> Image.Image:
    """Pictures side by side on white, each with its name above, the time below."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 14)
    height, width = pictures[0].shape[:2]
    frame = Image.new("RGB", (width * len(pictures), height + 44), "white")
    draw = ImageDraw.Draw(frame)
    for k, (picture, name) in enumerate(zip(pictures, names)):
        image = Image.fromarray((picture * 255).round().astype(np.uint8))
        frame.paste(image, (k * width, 22), image)
        draw.text((k * width + width / 2, 3), name, fill="#444444", font=font, anchor="ma")
    draw.text((frame.width / 2, height + 24), time, fill="#444444", font=font, anchor="ma")
    return frame
