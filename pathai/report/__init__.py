"""The draft of a case: every sentence stands on a finding, every number is printed by code.

``plan`` decides what stands where, a drafter phrases it with slots, ``check`` verifies statement
by statement, ``render`` writes the values. Nothing here loads torch.
"""
