"""Why a network decides as it does: how much each input contributes to its output."""
