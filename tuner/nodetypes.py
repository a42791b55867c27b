"""The old name of `tuner.cluster.autoscaler`: users' cluster files hold `tuner.nodetypes.prefer_available`."""

from tuner.cluster.autoscaler import prefer_available

__all__ = ["prefer_available"]
