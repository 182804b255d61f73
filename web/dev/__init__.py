"""What `greenroom dev` needs: stand-ins for the services around Greenroom."""
