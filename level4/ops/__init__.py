"""What running the program needs: settings with their origins, logs."""
