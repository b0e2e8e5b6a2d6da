"""How many frames wait in the kernel's queue of an interface: the request of rtnetlink, and the answer.

Layouts: rtnetlink(7), linux/rtnetlink.h, linux/gen_stats.h. Asking needs no privilege.
"""

from __future__ import annotations

import errno
import struct
from typing import Final

from edge_agent.errors import LinkError
from edge_agent.host.rtnetlink import HEADER, attributes_of, unpack

_NLMSG_ERROR: Final = 2
_RTM_NEWQDISC: Final = 36
_RTM_GETQDISC: Final = 38
# NLM_F_REQUEST, with NLM_F_ACK, for there is no answer about what is no queue, and NLM_F_ECHO, without which
# kernels before 6.4 tell all who listen but not the one who asks.
_FLAGS: Final = 1 | 4 | 8
_TC_H_ROOT: Final = 0xFFFF_FFFF
_QUEUE: Final = struct.Struct("=BxxxiIII")  # struct tcmsg
_QUEUE_STATISTICS: Final = struct.Struct("=5I")  # struct gnet_stats_queue
_TCA_STATS2: Final = 7
_TCA_STATS_QUEUE: Final = 3


def queue_request(index: int) -> bytes:
    """The request for the queue of the interface with this number; the answer ends with a receipt."""
    body = _QUEUE.pack(0, index, 0, _TC_H_ROOT, 0)
    return HEADER.pack(HEADER.size + len(body), _RTM_GETQDISC, _FLAGS, 1, 0) + body


def waiting_frames(answer: bytes) -> int | None:
    """How many frames the queue holds; 0 where the interface has none. None: the answer goes on.

    `answer`: what has been received so far. Raises LinkError for a refusal, and for bytes that are no answer.
    """
    waiting = 0
    while answer:
        length, kind, _, _, _ = unpack(HEADER, answer, "message")
        if not HEADER.size <= length <= len(answer):
            raise LinkError(f"an answer of {length} bytes, {len(answer)} of which are there")
        body, answer = answer[HEADER.size : length], answer[length + -length % 4 :]
        if kind == _NLMSG_ERROR:
            (number,) = unpack(struct.Struct("=i"), body, "receipt")
            if number:
                raise LinkError(f"the kernel refuses to tell: {errno.errorcode.get(-number, number)}")
            return waiting
        if kind != _RTM_NEWQDISC:
            raise LinkError(f"an answer of type {kind}")
        waiting += _waiting_in(body)
    return None


def _waiting_in(body: bytes) -> int:
    unpack(_QUEUE, body, "queue")
    statistics = attributes_of(body[_QUEUE.size :]).get(_TCA_STATS2)
    if statistics is None:
        raise LinkError("a queue without statistics")
    counted = attributes_of(statistics).get(_TCA_STATS_QUEUE, b"")
    return unpack(_QUEUE_STATISTICS, counted, "statistics of a queue")[0]
