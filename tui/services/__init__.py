"""What gathers for the screens, off the UI thread: snapshots, the registry's rows, GPUs, the clipboard."""
