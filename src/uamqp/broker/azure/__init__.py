"""The azure personality of the broker: a test double of Azure Service Bus and Event Hubs, on one port."""

from .options import Azure

__all__ = ["Azure"]
