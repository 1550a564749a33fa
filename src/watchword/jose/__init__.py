"""JSON Object Signing: keys, signatures and tokens; knows nothing of OAuth."""

from watchword.jose.errors import JoseError

__all__ = ["JoseError"]
