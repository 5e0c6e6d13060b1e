"""A renderer: reads jobs, a line each, from standard input; writes pictures until that ends."""

from __future__ import annotations

import io
import logging
import resource
import sys
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from gateway.preview.brightness import coloured
from gateway.preview.cutout import render_cutout
from gateway.preview.image import render_image
from gateway.preview.jobs import Head, Job, Unviewable
from gateway.preview.options import CutoutOptions, ImageOptions
from skyrelay import logs
from skyrelay.settings import get_settings

_log = logging.getLogger("gateway.preview")
_MIB = 1024 * 1024


def main() -> None:
    """Serve until nobody can ask any more; the first argument is how many MiB may be used."""
    limit = int(sys.argv[1]) * _MIB
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr  # Nothing that a library says may get among the pictures.
    logs.configure(get_settings())
    _get_ready()
    for line in sys.stdin.buffer:
        job = Job.model_validate_json(line)
        with logs.about(task=job.task):
            _answer(job, answers)


def _get_ready() -> None:
    """Load what the first picture would wait for."""
    pixels = np.arange(4, dtype=np.float32).reshape(2, 2)
    for format in ("jpeg", "png"):
        options = ImageOptions(format=format)
        _encoded(Image.fromarray(coloured(pixels, pixels.ravel(), options)), options)


def _answer(job: Job, answers: IO[bytes]) -> None:
    head, picture = Head(), b""
    try:
        picture = _render(job)
        head = Head(size=len(picture))
    except Unviewable as error:
        head = Head(refusal=str(error))
    except MemoryError:
        head = Head(refusal="It takes more memory to show this than there is for it.")
    except Exception as error:
        # A file may be broken in more ways than can be foreseen; others want to see theirs.
        _log.exception("a picture could not be made")
        head = Head(refusal=f"It cannot be shown: {error}")
    answers.write(head.model_dump_json().encode() + b"\n" + picture)
    answers.flush()


def _render(job: Job) -> bytes:
    options = job.image or job.cutout
    assert options is not None
    if job.image is not None:
        image = render_image(job, job.image)
    else:
        image = render_cutout(Path(job.path), options)  # type: ignore[arg-type]
    return _encoded(image, options)


def _encoded(image: Image.Image, options: CutoutOptions | ImageOptions) -> bytes:
    buffer = io.BytesIO()
    if options.format == "png":
        image.save(buffer, "PNG", compress_level=1)
    else:
        image.save(buffer, "JPEG", quality=options.quality)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
