"""What a page says, once, of the change that was made before it: a fixed table, never free text."""

from collections.abc import Mapping

NOTES: Mapping[str, str] = {
    # Messages
    "archived": "Moved to the archive.",
    "trashed": "Moved to the trash.",
    "moved": "Moved.",
    "seen": "Marked as read.",
    "unseen": "Marked as not read.",
    "starred": "Starred.",
    "unstarred": "No longer starred.",
    "deleted": "Deleted for good.",
    "nothing-chosen": "Nothing was chosen, so nothing was changed.",
    "released": "Released: it is in the inbox now.",
    "dropped": "Deleted from quarantine.",
    # Settings
    "saved": "Saved.",
    "password-changed": "Your password is changed. Wherever else you were logged in, you are not.",
    "feed-ended": "That feed address works no longer.",
    "filter-added": "The rule is added.",
    "filter-removed": "The rule is removed.",
    "key-added": "The key is published.",
    "key-removed": "The key is no longer published.",
    "unlocked": "Unlocked: your sealed messages are shown until you lock them or log out.",
    "locked": "Locked: your sealed messages are shown to nobody who has not your password.",
    "key-given": "This site holds your key.",
    "key-taken-back": "This site holds that key no longer, and has forgotten what it opened.",
    "logged-out": "You are logged out.",
    # Messages that are written and sent (message, compose, sent)
    "sent": "Sent. Each recipient's agent is being told.",
    "draft-saved": "The draft is saved.",
    "draft-deleted": "The draft is deleted.",
    "attached": "Attached.",
    "detached": "No longer attached.",
    "withdrawn": "Withdrawn: nobody can fetch it any more.",
    "kept": "A copy is kept.",
    "trusted": "The new key is taken for the author's.",
}
