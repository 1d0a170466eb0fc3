//! Grey and colour images on the device side: JPEG 2000 files, preview JPEGs with marks, quality estimators.
