"""`watchword demo`: the story that it tells, and the API that is protected in it."""
