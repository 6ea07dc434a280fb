"""The online half: the recorded test window played through running services, and compared with the offline scores."""
