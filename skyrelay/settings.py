"""Where does this installation keep its things, and whom does it talk to?

Every setting comes from the environment (or a ``.env`` file beside the process); names are those
of STDWeb where STDWeb has them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, IPvAnyNetwork, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from skyrelay.messages import Lane


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    amqp_uri: str = Field(
        "amqp://guest:guest@127.0.0.1:5672/%2F",
        description="the broker, or the nodes of a cluster separated by `;`",
    )
    skyrelay_broker_ca: Path | None = Field(
        None,
        description="file with the authority of the broker's certificate, for amqps://; the "
        "system's own, if not given",
    )
    skyrelay_declare_topology: bool = Field(
        True,
        description="make the broker's queues; false where the process has no right to: then "
        "the gateway makes them",
    )
    database_url: str = Field(
        "sqlite:///var/skyrelay.db", description="the gateway's database, as SQLAlchemy names it"
    )
    secret_key: str = Field("", description="signs sessions and tokens; the gateway needs it")
    data_path: Path = Field(Path("var/data"), description="images and catalogues to read from")
    tasks_path: Path = Field(
        Path("var/tasks"),
        description="the folders of all tasks; with TASKS_URL, this machine's scratch and cache",
    )
    tasks_url: str = Field(
        "", description="s3://bucket/prefix to keep the tasks in S3; empty: in TASKS_PATH"
    )
    skyrelay_s3_cache: float = Field(
        10.0, ge=0, description="GiB of files from S3 that are kept in TASKS_PATH"
    )
    skyrelay_s3_redirect: bool = Field(
        False,
        description="answer a download with an address of S3 that is good for an hour; clients "
        "must reach S3 by AWS_ENDPOINT_URL, too",
    )

    skyrelay_lane: Lane = Field(
        Lane.NORMAL, description="which images a replica takes: normal, or the large ones"
    )
    skyrelay_large_image: float = Field(
        0.0, ge=0, description="MiB from which an image goes to the replicas for large ones; 0: off"
    )
    skyrelay_queue_window: int = Field(
        16,
        ge=0,
        description="commands of a stage that the broker has at once, twice its slots or more; "
        "the others wait in the database, by priority and fairly among users; 0: no limit",
    )
    skyrelay_silence: float = Field(
        300.0, gt=0, description="seconds without a sign of life after which a stage is done anew"
    )
    skyrelay_sync_store: bool = Field(
        False,
        description="end a stage only when the disk has taken its products: slower, and safe "
        "from power failures",
    )
    skyrelay_slots: int = Field(1, ge=1, description="stages a replica works on at once")
    skyrelay_spare_workers: int = Field(
        0, ge=0, description="warm workers beyond the slots, ready when a stage was killed"
    )
    skyrelay_kill_grace: float = Field(
        2.0, ge=0, description="seconds between SIGTERM and SIGKILL for a stage that is stopped"
    )
    skyrelay_drain_grace: float = Field(
        600.0, ge=0, description="seconds that a replica may take to finish its stage on SIGTERM"
    )
    skyrelay_health_port: int = Field(0, ge=0, description="port of a service's /healthz; 0: none")
    skyrelay_health_host: str = Field(
        "127.0.0.1", description="address of this machine on which a service's /healthz listens"
    )
    skyrelay_worker_threads: int = Field(
        1, ge=1, description="threads of numerical libraries in a worker; replicas scale better"
    )
    skyrelay_worker_memory: float = Field(
        2048.0, ge=0, description="MiB; a worker that has grown beyond is replaced after its stage"
    )
    skyrelay_retry_delays: tuple[float, ...] = Field(
        (5.0, 30.0, 120.0), min_length=1, description="seconds before the second, third ... attempt"
    )
    skyrelay_extra_stages: str = Field(
        "", description="modules with more stages, as dotted names separated by commas"
    )
    # Heartbeats are looked after once a second: in less than three, one may be late.
    skyrelay_heartbeat: int = Field(20, ge=3, description="AMQP heartbeat in seconds")
    skyrelay_web_workers: int = Field(2, ge=1, description="processes of the web server")
    skyrelay_web_threads: int = Field(
        24,
        ge=1,
        description="threads of each of them; half of them may serve streams, a third wait for "
        "pictures, names and changes of images",
    )
    skyrelay_renderers: int = Field(
        1,
        ge=0,
        description="processes for pictures of images, for each process of the web server; 0: no "
        "pictures",
    )
    skyrelay_renderer_memory: int = Field(1024, ge=256, description="MiB that each of them may use")
    skyrelay_preview_cache: float = Field(
        5.0, ge=0, description="GiB of smaller versions of images that were looked at"
    )
    skyrelay_announce_candidates: bool = Field(
        True, description="hand candidates to the exchange skyrelay.candidates, for others"
    )
    skyrelay_webhook_networks: str = Field(
        "",
        description="private networks that webhooks may reach all the same, such as "
        "10.0.0.0/8,127.0.0.1/32; otherwise only public addresses are called",
    )
    skyrelay_webhook_delays: tuple[float, ...] = Field(
        (10.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0),
        description="seconds before the second, third ... call of a webhook that did not answer",
    )
    skyrelay_watch_interval: float = Field(
        5.0, gt=0, description="seconds between two looks into the folders that are watched"
    )
    skyrelay_watch_settle: float = Field(
        10.0, ge=0, description="seconds for which a file there must not change to be complete"
    )
    skyrelay_max_upload: int = Field(4 * 1024**3, description="largest accepted upload in bytes")
    skyrelay_admin_name: str = Field(
        "", description="administrator that the gateway makes at its start, if there is none so"
    )
    skyrelay_admin_password: SecretStr = Field(
        SecretStr(""), description="first password of that administrator"
    )
    skyrelay_session_days: float = Field(
        14.0, gt=0, description="days after which a browser must log in again"
    )
    skyrelay_trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = Field(
        (),
        description="addresses or networks of proxies whose X-Forwarded-* headers are believed, "
        "separated by commas",
    )
    skyrelay_proxy_hops: int = Field(
        1, ge=1, description="proxies, one behind the other, that add to these headers"
    )
    skyrelay_quota_tasks: int = Field(
        0, ge=0, description="tasks that a user may have, unless their own quota differs; 0: any"
    )
    skyrelay_quota_bytes: int = Field(
        0, ge=0, description="bytes that a user's tasks may take; 0: any number"
    )
    skyrelay_quota_runs: int = Field(
        0, ge=0, description="runs that a user may have open at once; 0: any number"
    )
    skyrelay_oidc_issuer: str = Field(
        "", description="address of an OpenID Connect provider with which users may log in"
    )
    skyrelay_oidc_client_id: str = Field("", description="how the provider knows this gateway")
    skyrelay_oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="by which the provider believes it"
    )
    skyrelay_oidc_create_users: bool = Field(
        False, description="make a user of everybody whom the provider lets in"
    )
    skyrelay_oidc_staff_group: str = Field(
        "", description="members of this group of the provider are administrators; none: by hand"
    )
    skyportal_base_url: str = Field(
        "", description="address of a SkyPortal that gets photometry, without /api"
    )
    skyportal_token: SecretStr = Field(SecretStr(""), description="token for it")
    skyportal_group_id: int = Field(
        1, description="its group in which sources are looked for, and which sees what is sent"
    )
    skyrelay_log_level: str = Field(
        "INFO", description="what is logged: DEBUG, INFO, WARNING or ERROR, and all that is worse"
    )
    skyrelay_log_format: Literal["text", "json"] = Field(
        "text", description="of each line of the log: text or json"
    )
    skyrelay_traces: str = Field(
        "",
        description="address of an OpenTelemetry collector that takes OTLP over HTTP, such as "
        "http://collector:4318; empty: no traces",
    )

    skyrelay_offline: bool = Field(
        False, description="never ask anybody over the network about the sky"
    )
    skyrelay_vizier_urls: str = Field(
        "https://vizier.cds.unistra.fr/viz-bin/votable,"
        "https://vizier.cfa.harvard.edu/viz-bin/votable",
        description="VizieR and its mirrors; this and the like: separated by commas, best first",
    )
    skyrelay_xmatch_urls: str = Field(
        "http://cdsxmatch.u-strasbg.fr/xmatch/api/v1/sync", description="CDS XMatch"
    )
    skyrelay_skybot_urls: str = Field(
        "https://ssp.imcce.fr/webservices/skybot/api/conesearch.php", description="SkyBoT"
    )
    skyrelay_sesame_urls: str = Field(
        "https://cds.unistra.fr/cgi-bin/nph-sesame,"
        "https://vizier.cfa.harvard.edu/viz-bin/nph-sesame",
        description="Sesame, the resolver of names",
    )
    skyrelay_transients_urls: str = Field(
        "https://api.ztf.fink-portal.org/api/v1/resolver",
        description="resolver of the names of transients (Fink's copy of the TNS)",
    )
    skyrelay_hips2fits_urls: str = Field(
        "https://alasky.cds.unistra.fr/hips-image-services/hips2fits,"
        "https://alaskybis.cds.unistra.fr/hips-image-services/hips2fits",
        description="images of the surveys that are there as HiPS",
    )
    skyrelay_ps1_urls: str = Field(
        "https://ps1images.stsci.edu", description="original images of Pan-STARRS"
    )
    skyrelay_legacy_survey_urls: str = Field(
        "https://portal.nersc.gov/cfs/cosmo/data/legacysurvey",
        description="original images of the Legacy Survey",
    )
    skyrelay_connect_timeout: float = Field(
        10.0, gt=0, description="seconds until a sky service must have taken a connection"
    )
    skyrelay_read_timeout: float = Field(
        60.0, gt=0, description="seconds of silence after which its answer is given up"
    )
    skyrelay_answer_timeout: float = Field(
        600.0, gt=0, description="seconds within which the whole answer must be there"
    )
    skyrelay_ask_again: tuple[float, ...] = Field(
        (2.0, 10.0), description="seconds to wait before all its addresses are tried once more"
    )
    skyrelay_cache_path: Path | None = Field(
        None, description="what the sky services said, for all replicas; .cache in TASKS_PATH"
    )
    skyrelay_cache_size: float = Field(
        50.0, ge=0, description="GiB; what was not used for the longest time goes first"
    )
    skyrelay_cache_days_catalogues: float = Field(180.0, ge=0, description="days")
    skyrelay_cache_days_images: float = Field(3650.0, ge=0, description="days")
    skyrelay_cache_days_positions: float = Field(
        7.0, ge=0, description="days; names of objects, and where bodies of the Solar system are"
    )

    stdpipe_ps1_cache: Path | None = Field(
        None, description="original images of PS1 and Legacy Survey, if not in the cache's folder"
    )
    stdpipe_sextractor: str | None = Field(None, description="path of SExtractor")
    stdpipe_scamp: str | None = Field(None, description="path of SCAMP")
    stdpipe_psfex: str | None = Field(None, description="path of PSFEx")
    stdpipe_swarp: str | None = Field(None, description="path of SWarp")
    stdpipe_solve_field: str | None = Field(None, description="path of solve-field")
    stdpipe_solve_field_config: Path | None = Field(
        None, description="its index configuration; otherwise one is made of SKYRELAY_INDEX_PATHS"
    )
    skyrelay_index_paths: str = Field(
        "/usr/share/astrometry",
        description="folders of Astrometry.Net's index files, separated by commas",
    )
    skyrelay_solve_limit: int = Field(
        300, ge=1, description="seconds of CPU time after which a field is not looked for any more"
    )
    stdpipe_hotpants: str | None = Field(None, description="path of HOTPANTS, where there is one")

    @field_validator("skyrelay_trusted_proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("amqp_uri")
    @classmethod
    def _name_default_vhost(cls, uri: str) -> str:
        """kombu takes a last ``//`` for the virtual host ``/``, pika for one without a name."""
        return ";".join(
            f"{node[:-2]}/%2F" if node.endswith("//") else node for node in uri.split(";")
        )


def sky_services() -> list[str]:
    """The names of the sky services: of each there is a setting with its addresses."""
    names = (re.fullmatch(r"skyrelay_(\w+)_urls", name) for name in Settings.model_fields)
    return [name[1] for name in names if name]


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once.

    Raises
    ------
    SystemExit
        With one sentence, if a setting cannot be understood: no process can run with it.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(map(str, first["loc"])).upper()
        raise SystemExit(f"The setting {name} is wrong: {first['msg']}.") from None
