"""What lies between services: errors, deadlines, channels, servers and telemetry. It owns no state and no port."""
