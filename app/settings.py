"""Every setting of Kizu: an environment variable with the prefix `KIZU_`, documented in `docs/operations.md`."""

from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Settings of one installation. Without any, everything runs embedded under `home`."""

    model_config = SettingsConfigDict(env_prefix="KIZU_", extra="ignore", frozen=True)

    home: Path = Field(
        default=ROOT / "data", description="Database, blobs, caches and logs of an embedded installation"
    )
    host: str = Field(default="127.0.0.1", description="Address that the web process listens on")
    port: int = Field(default=8000, ge=1, le=65535, description="Port that the web process listens on")
    public_url: str | None = Field(
        default=None, description="Address people and programs use, where a proxy stands before Kizu"
    )

    admin_email: str = Field(default="admin@example.com", description="E-mail of the first administrator")
    admin_password: SecretStr | None = Field(
        default=None, description="Password of the first administrator; generated where unset"
    )

    database_url: str | None = Field(default=None, description="SQLAlchemy URL; unset: SQLite under `KIZU_HOME`")
    redis_url: str | None = Field(default=None, description="Redis URL; unset: a private Redis on a unix socket")
    storage_url: str | None = Field(default=None, description="`s3://bucket/prefix`; unset: files under `KIZU_HOME`")
    s3_endpoint_url: str | None = Field(default=None, description="Endpoint of an S3-compatible store")
    s3_access_key: SecretStr | None = Field(default=None, description="Access key of the S3-compatible store")
    s3_secret_key: SecretStr | None = Field(default=None, description="Secret key of the S3-compatible store")

    session_days: int = Field(default=14, ge=1, le=365, description="How long a sign-in lasts without use")
    cookie_secure: bool | None = Field(
        default=None, description="`Secure` on the session cookie; unset: where the request came by HTTPS"
    )
    trusted_hosts: list[str] = Field(default=["*"], description="Host names that requests may carry")

    max_upload_mb: int = Field(default=1024, ge=1, description="Largest request that is read")
    max_image_mb: int = Field(default=256, ge=1, description="Largest single image file")
    max_image_megapixels: int = Field(default=200, ge=1, description="Largest image after decoding")
    max_zip_entries: int = Field(default=200_000, ge=1, description="Most files in one zip")
    max_zip_gb: float = Field(default=50.0, gt=0, description="Most bytes that one zip may unpack to")

    predict_cache_mb: int = Field(default=1024, ge=64, description="Memory for models kept ready to serve")
    predict_queue_size: int = Field(default=64, ge=1, description="Predictions that may wait before 503 is answered")
    rate_limit_per_minute: int = Field(
        default=0, ge=0, description="Prediction calls a minute for each endpoint; 0: no limit"
    )
    history_images: bool = Field(default=True, description="Keep the picture of each prediction call")

    job_heartbeat_s: float = Field(
        default=20.0, gt=0, description="Silence after which a running job is taken for lost"
    )
    job_cancel_grace_s: float = Field(default=30.0, gt=0, description="Time a job has to stop by itself")
    job_max_attempts: int = Field(default=5, ge=1, description="Starts of one job before it is given up")

    prepare_backbones: bool = Field(
        default=True, description="Export the backbones after the first start, so that the first training need not"
    )

    log_level: str = Field(default="info", description="`debug`, `info`, `warning` or `error`")

    @property
    def sqlalchemy_url(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'kizu.sqlite3'}"

    @property
    def cache_dir(self) -> Path:
        """Things that can be made again: exported backbones, features, local copies of blobs."""
        return self.home / "cache"

    @property
    def blob_dir(self) -> Path:
        return self.home / "blobs"

    @property
    def run_dir(self) -> Path:
        return self.home / "run"


@lru_cache
def get_settings() -> Settings:
    """Return the settings of this process, read once from the environment."""
    return Settings()
