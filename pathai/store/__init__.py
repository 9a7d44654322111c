"""The data contract: the only room that knows paths, array names and dtypes.

``folders`` knows where things lie, ``records`` what they hold, ``groups`` how arrays are
stored, ``manifest`` and ``commit`` what is finished and from what it was made, ``pyramid`` the
pixels. Nothing here loads torch.
"""
