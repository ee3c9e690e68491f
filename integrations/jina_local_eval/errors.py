"""What evaluation raises on purpose besides the errors of the engine.

JinaLocalError
└── QuestionFileError (ValueError)   questions that cannot be asked as they stand
"""

from __future__ import annotations

from jina_local.errors import JinaLocalError

__all__ = ["QuestionFileError"]


class QuestionFileError(JinaLocalError, ValueError):
    """A line of a file of questions is not a question with documents that answer it."""
