"""SkyPortal, the observatory's marshal: which of its sources is it, and what was measured of it?"""
