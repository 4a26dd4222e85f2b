"""What is shipped for Prometheus and Grafana."""
