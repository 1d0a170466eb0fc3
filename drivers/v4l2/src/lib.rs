//! Driver for V4L2 cameras: faces, and irises with an NIR camera.
