"""Tests on a real Apache Kafka, and what starts one. See kafka.py."""
