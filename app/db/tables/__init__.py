"""All tables, imported together so that the metadata is whole."""

from app.db import visibility as visibility  # whoever knows the tables must not see deleted images
from app.db.tables.accounts import ApiKey, AuditEvent, LoginAttempt, User, UserSession
from app.db.tables.dataset import DatasetVersion
from app.db.tables.image import Annotation, Image, ImageMetadata, ImageTag
from app.db.tables.job import Job, JobEvent
from app.db.tables.project import Category, MetadataField, Project, ProjectMember, Tag
from app.db.tables.prompting import ImageStrokes, PromptedMasks
from app.db.tables.registry import ModelVersion, Prediction
from app.db.tables.serving import Deployment, InferenceRecord

__all__ = [
    "Annotation",
    "ApiKey",
    "AuditEvent",
    "Category",
    "DatasetVersion",
    "Deployment",
    "Image",
    "ImageMetadata",
    "ImageStrokes",
    "ImageTag",
    "InferenceRecord",
    "Job",
    "JobEvent",
    "LoginAttempt",
    "MetadataField",
    "ModelVersion",
    "Prediction",
    "Project",
    "ProjectMember",
    "PromptedMasks",
    "Tag",
    "User",
    "UserSession",
]
