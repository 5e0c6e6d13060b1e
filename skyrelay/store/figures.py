"""What does this process tell of a task store on S3? Where the store is a folder, nothing."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from skyrelay.episodes import Ending, Episode

#: Seconds: from a bucket next door to a server that is asked again for half a minute.
_REQUEST = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60)

#: What a store asks of S3, by the names that S3 has for it.
OPERATIONS = (
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateMultipartUpload",
    "DeleteObjects",
    "GetObject",
    "HeadObject",
    "ListMultipartUploads",
    "ListObjectsV2",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
)

REQUESTS = Histogram(
    "skyrelay_store_seconds",
    "Requests to S3, all tries of each together, by how they ended",
    ["operation", "ending"],
    buckets=_REQUEST,
)
BYTES = Counter("skyrelay_store_bytes", "What S3 was sent and has sent", ["operation"])


def begin() -> None:
    """Tell of every request as one that was not made yet, see `skyrelay.exposition`."""
    for operation in OPERATIONS:
        for ending in (Ending.OK, Ending.FAILED):
            REQUESTS.labels(operation, ending.value)
        BYTES.labels(operation)


def count(episode: Episode) -> None:
    """S3 was asked."""
    REQUESTS.labels(episode.name, episode.ending.value).observe(episode.seconds)
    BYTES.labels(episode.name).inc(episode.size)
