"""Results as DICOM objects that refer to the slide they were found on.

A structured report (TID 1500) holds the findings of a case, bulk simple annotations the nuclei of
a slide. Both need the slide's own DICOM file, of which they take UIDs and nothing that names a
person: patient and container are the pseudonymous ids of the run.
"""
