"""Who is in the cluster: SWIM gossip with Lifeguard, pure. Start reading at `membership`."""

from level4.swim.config import FEEDS, LAN, LOCAL, MAX_META_BYTES, MAX_NAME_BYTES, PROFILES, WAN, Config
from level4.swim.events import Active, Change, Departed, Event, MemberEvent, NameConflict, Stats
from level4.swim.identity import Phase
from level4.swim.inquiry import Inquiry, Reply
from level4.swim.member import Address, Member, State
from level4.swim.membership import SECRET_BYTES, Membership
from level4.swim.packet import Keyring, Refusal

__all__ = [
    "FEEDS",
    "LAN",
    "LOCAL",
    "MAX_META_BYTES",
    "MAX_NAME_BYTES",
    "PROFILES",
    "SECRET_BYTES",
    "WAN",
    "Active",
    "Address",
    "Change",
    "Config",
    "Departed",
    "Event",
    "Inquiry",
    "Keyring",
    "Member",
    "MemberEvent",
    "Membership",
    "NameConflict",
    "Phase",
    "Refusal",
    "Reply",
    "State",
    "Stats",
]
