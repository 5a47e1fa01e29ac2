"""Who talks with whom: knowledge, the helpdesk that answers from it, users, environment, agent."""
