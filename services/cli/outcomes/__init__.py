"""What came true: files of it on their way to the gateway, and predictions with it on their way back."""
