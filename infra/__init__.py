"""Build, deploy, check and operate Gatehouse in an account."""
