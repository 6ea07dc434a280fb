"""Tests of services as their callers see them. A folder is a package where its tests share servers, which end with its last test."""
