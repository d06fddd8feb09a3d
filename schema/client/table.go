package client

import (
	imbuddy "godwit/schema/client/buddy"
	imextension "godwit/schema/client/extension"
	imfile "godwit/schema/client/file"
	imgroup "godwit/schema/client/group"
	imlogin "godwit/schema/client/login"
	immessage "godwit/schema/client/message"
	imother "godwit/schema/client/other"
	imserver "godwit/schema/client/server"
	imswitch "godwit/schema/client/switchservice"
)

// The command ids, each named after the message that it carries. The high byte is the service.
const (
	CmdMsgServReq         uint16 = 0x0101
	CmdMsgServRsp         uint16 = 0x0102
	CmdLoginReq           uint16 = 0x0103
	CmdLoginRes           uint16 = 0x0104
	CmdLogoutReq          uint16 = 0x0105
	CmdLogoutRsp          uint16 = 0x0106
	CmdKickUser           uint16 = 0x0107
	CmdDeviceTokenReq     uint16 = 0x0108
	CmdDeviceTokenRsp     uint16 = 0x0109
	CmdKickPCClientReq    uint16 = 0x010a
	CmdKickPCClientRsp    uint16 = 0x010b
	CmdPushShieldReq      uint16 = 0x010c
	CmdPushShieldRsp      uint16 = 0x010d
	CmdQueryPushShieldReq uint16 = 0x010e
	CmdQueryPushShieldRsp uint16 = 0x010f

	CmdRecentContactSessionReq uint16 = 0x0201
	CmdRecentContactSessionRsp uint16 = 0x0202
	CmdUserStatNotify          uint16 = 0x0203
	CmdUsersInfoReq            uint16 = 0x0204
	CmdUsersInfoRsp            uint16 = 0x0205
	CmdRemoveSessionReq        uint16 = 0x0206
	CmdRemoveSessionRsp        uint16 = 0x0207
	CmdAllUserReq              uint16 = 0x0208
	CmdAllUserRsp              uint16 = 0x0209
	CmdUsersStatReq            uint16 = 0x020a
	CmdUsersStatRsp            uint16 = 0x020b
	CmdChangeAvatarReq         uint16 = 0x020c
	CmdChangeAvatarRsp         uint16 = 0x020d
	CmdPCLoginStatusNotify     uint16 = 0x020e
	CmdRemoveSessionNotify     uint16 = 0x020f
	CmdDepartmentReq           uint16 = 0x0210
	CmdDepartmentRsp           uint16 = 0x0211
	CmdAvatarChangedNotify     uint16 = 0x0212
	CmdChangeSignInfoReq       uint16 = 0x0213
	CmdChangeSignInfoRsp       uint16 = 0x0214
	CmdSignInfoChangedNotify   uint16 = 0x0215

	CmdMsgData           uint16 = 0x0301
	CmdMsgDataAck        uint16 = 0x0302
	CmdMsgDataReadAck    uint16 = 0x0303
	CmdMsgDataReadNotify uint16 = 0x0304
	CmdClientTimeReq     uint16 = 0x0305
	CmdClientTimeRsp     uint16 = 0x0306
	CmdUnreadMsgCntReq   uint16 = 0x0307
	CmdUnreadMsgCntRsp   uint16 = 0x0308
	CmdGetMsgListReq     uint16 = 0x0309
	CmdGetMsgListRsp     uint16 = 0x030a
	CmdGetLatestMsgIdReq uint16 = 0x030b
	CmdGetLatestMsgIdRsp uint16 = 0x030c
	CmdGetMsgByIdReq     uint16 = 0x030d
	CmdGetMsgByIdRsp     uint16 = 0x030e

	CmdNormalGroupListReq      uint16 = 0x0401
	CmdNormalGroupListRsp      uint16 = 0x0402
	CmdGroupInfoListReq        uint16 = 0x0403
	CmdGroupInfoListRsp        uint16 = 0x0404
	CmdGroupCreateReq          uint16 = 0x0405
	CmdGroupCreateRsp          uint16 = 0x0406
	CmdGroupChangeMemberReq    uint16 = 0x0407
	CmdGroupChangeMemberRsp    uint16 = 0x0408
	CmdGroupShieldReq          uint16 = 0x0409
	CmdGroupShieldRsp          uint16 = 0x040a
	CmdGroupChangeMemberNotify uint16 = 0x040b

	CmdFileLoginReq      uint16 = 0x0501
	CmdFileLoginRsp      uint16 = 0x0502
	CmdFileState         uint16 = 0x0503
	CmdFilePullDataReq   uint16 = 0x0504
	CmdFilePullDataRsp   uint16 = 0x0505
	CmdFileReq           uint16 = 0x0506
	CmdFileRsp           uint16 = 0x0507
	CmdFileNotify        uint16 = 0x0508
	CmdFileHasOfflineReq uint16 = 0x0509
	CmdFileHasOfflineRsp uint16 = 0x050a
	CmdFileAddOfflineReq uint16 = 0x050b
	CmdFileDelOfflineReq uint16 = 0x050c

	CmdP2PCmdMsg uint16 = 0x0601

	CmdHeartBeat                 uint16 = 0x0701
	CmdStopReceivePacket         uint16 = 0x0702
	CmdValidateReq               uint16 = 0x0703
	CmdValidateRsp               uint16 = 0x0704
	CmdGetDeviceTokenReq         uint16 = 0x0705
	CmdGetDeviceTokenRsp         uint16 = 0x0706
	CmdRoleSet                   uint16 = 0x0707
	CmdOnlineUserInfo            uint16 = 0x0708
	CmdMsgServInfo               uint16 = 0x0709
	CmdUserStatusUpdate          uint16 = 0x070a
	CmdUserCntUpdate             uint16 = 0x070b
	CmdServerKickUser            uint16 = 0x070d
	CmdServerPCLoginStatusNotify uint16 = 0x070e
	CmdPushToUserReq             uint16 = 0x070f
	CmdPushToUserRsp             uint16 = 0x0710
	CmdGroupGetShieldReq         uint16 = 0x0711
	CmdGroupGetShieldRsp         uint16 = 0x0712
	CmdFileTransferReq           uint16 = 0x0731
	CmdFileTransferRsp           uint16 = 0x0732
	CmdFileServerIPReq           uint16 = 0x0733
	CmdFileServerIPRsp           uint16 = 0x0734

	// Service 32: godwit's own.
	CmdSyncReq              uint16 = 0x2001
	CmdSyncRsp              uint16 = 0x2002
	CmdSendRefused          uint16 = 0x2003
	CmdRecallReq            uint16 = 0x2005
	CmdRecallRsp            uint16 = 0x2006
	CmdEditReq              uint16 = 0x2007
	CmdEditRsp              uint16 = 0x2008
	CmdMessageChangedNotify uint16 = 0x2009
	CmdReceivedReq          uint16 = 0x200a
	CmdReceiptNotify        uint16 = 0x200b
	CmdReceiptsReq          uint16 = 0x200c
	CmdReceiptsRsp          uint16 = 0x200d
	CmdTypingReq            uint16 = 0x200e
	CmdTypingNotify         uint16 = 0x200f
	CmdFriendListReq        uint16 = 0x2011
	CmdFriendListRsp        uint16 = 0x2012
	CmdFriendReq            uint16 = 0x2013
	CmdFriendRsp            uint16 = 0x2014
	CmdFriendNotify         uint16 = 0x2015
	CmdGroupUpdateReq       uint16 = 0x2017
	CmdGroupUpdateRsp       uint16 = 0x2018
	CmdGroupNotify          uint16 = 0x2019
	CmdServerNotify         uint16 = 0x201b
)

// ServiceExtension is the service id of what godwit offers beyond the protocol.
const ServiceExtension = 0x20

// table lists every command of the protocol.
var table = []Command{
	command[imlogin.IMMsgServReq](CmdMsgServReq, "CID_LOGIN_REQ_MSGSERVER", FromClient),
	command[imlogin.IMMsgServRsp](CmdMsgServRsp, "CID_LOGIN_RES_MSGSERVER", ToClient),
	command[imlogin.IMLoginReq](CmdLoginReq, "CID_LOGIN_REQ_USERLOGIN", FromClient),
	command[imlogin.IMLoginRes](CmdLoginRes, "CID_LOGIN_RES_USERLOGIN", ToClient),
	command[imlogin.IMLogoutReq](CmdLogoutReq, "CID_LOGIN_REQ_LOGINOUT", FromClient),
	command[imlogin.IMLogoutRsp](CmdLogoutRsp, "CID_LOGIN_RES_LOGINOUT", ToClient),
	command[imlogin.IMKickUser](CmdKickUser, "CID_LOGIN_KICK_USER", ToClient),
	command[imlogin.IMDeviceTokenReq](CmdDeviceTokenReq, "CID_LOGIN_REQ_DEVICETOKEN", FromClient|BetweenServers),
	command[imlogin.IMDeviceTokenRsp](CmdDeviceTokenRsp, "CID_LOGIN_RES_DEVICETOKEN", ToClient|BetweenServers),
	command[imlogin.IMKickPCClientReq](CmdKickPCClientReq, "CID_LOGIN_REQ_KICKPCCLIENT", FromClient),
	command[imlogin.IMKickPCClientRsp](CmdKickPCClientRsp, "CID_LOGIN_RES_KICKPCCLIENT", ToClient),
	command[imlogin.IMPushShieldReq](CmdPushShieldReq, "CID_LOGIN_REQ_PUSH_SHIELD", FromClient|BetweenServers),
	command[imlogin.IMPushShieldRsp](CmdPushShieldRsp, "CID_LOGIN_RES_PUSH_SHIELD", ToClient|BetweenServers),
	command[imlogin.IMQueryPushShieldReq](CmdQueryPushShieldReq, "CID_LOGIN_REQ_QUERY_PUSH_SHIELD", FromClient|BetweenServers),
	command[imlogin.IMQueryPushShieldRsp](CmdQueryPushShieldRsp, "CID_LOGIN_RES_QUERY_PUSH_SHIELD", ToClient|BetweenServers),
	command[imbuddy.IMRecentContactSessionReq](CmdRecentContactSessionReq, "CID_BUDDY_LIST_RECENT_CONTACT_SESSION_REQUEST", FromClient|BetweenServers),
	command[imbuddy.IMRecentContactSessionRsp](CmdRecentContactSessionRsp, "CID_BUDDY_LIST_RECENT_CONTACT_SESSION_RESPONSE", ToClient|BetweenServers),
	command[imbuddy.IMUserStatNotify](CmdUserStatNotify, "CID_BUDDY_LIST_STATUS_NOTIFY", ToClient|BetweenServers),
	command[imbuddy.IMUsersInfoReq](CmdUsersInfoReq, "CID_BUDDY_LIST_USER_INFO_REQUEST", FromClient|BetweenServers),
	command[imbuddy.IMUsersInfoRsp](CmdUsersInfoRsp, "CID_BUDDY_LIST_USER_INFO_RESPONSE", ToClient|BetweenServers),
	command[imbuddy.IMRemoveSessionReq](CmdRemoveSessionReq, "CID_BUDDY_LIST_REMOVE_SESSION_REQ", FromClient|BetweenServers),
	command[imbuddy.IMRemoveSessionRsp](CmdRemoveSessionRsp, "CID_BUDDY_LIST_REMOVE_SESSION_RES", ToClient|BetweenServers),
	command[imbuddy.IMAllUserReq](CmdAllUserReq, "CID_BUDDY_LIST_ALL_USER_REQUEST", FromClient|BetweenServers),
	command[imbuddy.IMAllUserRsp](CmdAllUserRsp, "CID_BUDDY_LIST_ALL_USER_RESPONSE", ToClient|BetweenServers),
	command[imbuddy.IMUsersStatReq](CmdUsersStatReq, "CID_BUDDY_LIST_USERS_STATUS_REQUEST", FromClient|BetweenServers),
	command[imbuddy.IMUsersStatRsp](CmdUsersStatRsp, "CID_BUDDY_LIST_USERS_STATUS_RESPONSE", ToClient|BetweenServers),
	command[imbuddy.IMChangeAvatarReq](CmdChangeAvatarReq, "CID_BUDDY_LIST_CHANGE_AVATAR_REQUEST", FromClient|BetweenServers),
	command[imbuddy.IMChangeAvatarRsp](CmdChangeAvatarRsp, "CID_BUDDY_LIST_CHANGE_AVATAR_RESPONSE", ToClient|BetweenServers),
	command[imbuddy.IMPCLoginStatusNotify](CmdPCLoginStatusNotify, "CID_BUDDY_LIST_PC_LOGIN_STATUS_NOTIFY", ToClient),
	command[imbuddy.IMRemoveSessionNotify](CmdRemoveSessionNotify, "CID_BUDDY_LIST_REMOVE_SESSION_NOTIFY", ToClient|BetweenServers),
	command[imbuddy.IMDepartmentReq](CmdDepartmentReq, "CID_BUDDY_LIST_DEPARTMENT_REQUEST", FromClient|BetweenServers),
	command[imbuddy.IMDepartmentRsp](CmdDepartmentRsp, "CID_BUDDY_LIST_DEPARTMENT_RESPONSE", ToClient|BetweenServers),
	command[imbuddy.IMAvatarChangedNotify](CmdAvatarChangedNotify, "CID_BUDDY_LIST_AVATAR_CHANGED_NOTIFY", ToClient),
	command[imbuddy.IMChangeSignInfoReq](CmdChangeSignInfoReq, "CID_BUDDY_LIST_CHANGE_SIGN_INFO_REQUEST", FromClient|BetweenServers),
	command[imbuddy.IMChangeSignInfoRsp](CmdChangeSignInfoRsp, "CID_BUDDY_LIST_CHANGE_SIGN_INFO_RESPONSE", ToClient|BetweenServers),
	command[imbuddy.IMSignInfoChangedNotify](CmdSignInfoChangedNotify, "CID_BUDDY_LIST_SIGN_INFO_CHANGED_NOTIFY", ToClient|BetweenServers),
	command[immessage.IMMsgData](CmdMsgData, "CID_MSG_DATA", FromClient|ToClient|BetweenServers),
	command[immessage.IMMsgDataAck](CmdMsgDataAck, "CID_MSG_DATA_ACK", FromClient|ToClient),
	command[immessage.IMMsgDataReadAck](CmdMsgDataReadAck, "CID_MSG_READ_ACK", FromClient|BetweenServers),
	command[immessage.IMMsgDataReadNotify](CmdMsgDataReadNotify, "CID_MSG_READ_NOTIFY", ToClient|BetweenServers),
	command[immessage.IMClientTimeReq](CmdClientTimeReq, "CID_MSG_TIME_REQUEST", FromClient),
	command[immessage.IMClientTimeRsp](CmdClientTimeRsp, "CID_MSG_TIME_RESPONSE", ToClient),
	command[immessage.IMUnreadMsgCntReq](CmdUnreadMsgCntReq, "CID_MSG_UNREAD_CNT_REQUEST", FromClient|BetweenServers),
	command[immessage.IMUnreadMsgCntRsp](CmdUnreadMsgCntRsp, "CID_MSG_UNREAD_CNT_RESPONSE", ToClient|BetweenServers),
	command[immessage.IMGetMsgListReq](CmdGetMsgListReq, "CID_MSG_LIST_REQUEST", FromClient|BetweenServers),
	command[immessage.IMGetMsgListRsp](CmdGetMsgListRsp, "CID_MSG_LIST_RESPONSE", ToClient|BetweenServers),
	command[immessage.IMGetLatestMsgIdReq](CmdGetLatestMsgIdReq, "CID_MSG_GET_LATEST_MSG_ID_REQ", FromClient|BetweenServers),
	command[immessage.IMGetLatestMsgIdRsp](CmdGetLatestMsgIdRsp, "CID_MSG_GET_LATEST_MSG_ID_RSP", ToClient|BetweenServers),
	command[immessage.IMGetMsgByIdReq](CmdGetMsgByIdReq, "CID_MSG_GET_BY_MSG_ID_REQ", FromClient|BetweenServers),
	command[immessage.IMGetMsgByIdRsp](CmdGetMsgByIdRsp, "CID_MSG_GET_BY_MSG_ID_RES", ToClient|BetweenServers),
	command[imgroup.IMNormalGroupListReq](CmdNormalGroupListReq, "CID_GROUP_NORMAL_LIST_REQUEST", FromClient|BetweenServers),
	command[imgroup.IMNormalGroupListRsp](CmdNormalGroupListRsp, "CID_GROUP_NORMAL_LIST_RESPONSE", ToClient|BetweenServers),
	command[imgroup.IMGroupInfoListReq](CmdGroupInfoListReq, "CID_GROUP_INFO_REQUEST", FromClient|BetweenServers),
	command[imgroup.IMGroupInfoListRsp](CmdGroupInfoListRsp, "CID_GROUP_INFO_RESPONSE", ToClient|BetweenServers),
	command[imgroup.IMGroupCreateReq](CmdGroupCreateReq, "CID_GROUP_CREATE_REQUEST", FromClient|BetweenServers),
	command[imgroup.IMGroupCreateRsp](CmdGroupCreateRsp, "CID_GROUP_CREATE_RESPONSE", ToClient|BetweenServers),
	command[imgroup.IMGroupChangeMemberReq](CmdGroupChangeMemberReq, "CID_GROUP_CHANGE_MEMBER_REQUEST", FromClient|BetweenServers),
	command[imgroup.IMGroupChangeMemberRsp](CmdGroupChangeMemberRsp, "CID_GROUP_CHANGE_MEMBER_RESPONSE", ToClient|BetweenServers),
	command[imgroup.IMGroupShieldReq](CmdGroupShieldReq, "CID_GROUP_SHIELD_GROUP_REQUEST", FromClient|BetweenServers),
	command[imgroup.IMGroupShieldRsp](CmdGroupShieldRsp, "CID_GROUP_SHIELD_GROUP_RESPONSE", ToClient|BetweenServers),
	command[imgroup.IMGroupChangeMemberNotify](CmdGroupChangeMemberNotify, "CID_GROUP_CHANGE_MEMBER_NOTIFY", ToClient|BetweenServers),
	command[imfile.IMFileLoginReq](CmdFileLoginReq, "CID_FILE_LOGIN_REQ", FromClient),
	command[imfile.IMFileLoginRsp](CmdFileLoginRsp, "CID_FILE_LOGIN_RES", ToClient),
	command[imfile.IMFileState](CmdFileState, "CID_FILE_STATE", FromClient|ToClient),
	command[imfile.IMFilePullDataReq](CmdFilePullDataReq, "CID_FILE_PULL_DATA_REQ", FromClient|ToClient),
	command[imfile.IMFilePullDataRsp](CmdFilePullDataRsp, "CID_FILE_PULL_DATA_RSP", FromClient|ToClient),
	command[imfile.IMFileReq](CmdFileReq, "CID_FILE_REQUEST", FromClient),
	command[imfile.IMFileRsp](CmdFileRsp, "CID_FILE_RESPONSE", ToClient),
	command[imfile.IMFileNotify](CmdFileNotify, "CID_FILE_NOTIFY", ToClient|BetweenServers),
	command[imfile.IMFileHasOfflineReq](CmdFileHasOfflineReq, "CID_FILE_HAS_OFFLINE_REQ", FromClient|BetweenServers),
	command[imfile.IMFileHasOfflineRsp](CmdFileHasOfflineRsp, "CID_FILE_HAS_OFFLINE_RES", ToClient|BetweenServers),
	command[imfile.IMFileAddOfflineReq](CmdFileAddOfflineReq, "CID_FILE_ADD_OFFLINE_REQ", FromClient|BetweenServers),
	command[imfile.IMFileDelOfflineReq](CmdFileDelOfflineReq, "CID_FILE_DEL_OFFLINE_REQ", FromClient|BetweenServers),
	command[imswitch.IMP2PCmdMsg](CmdP2PCmdMsg, "CID_SWITCH_P2P_CMD", FromClient|ToClient|BetweenServers),
	command[imother.IMHeartBeat](CmdHeartBeat, "CID_OTHER_HEARTBEAT", FromClient|ToClient|BetweenServers),
	command[imserver.IMStopReceivePacket](CmdStopReceivePacket, "CID_OTHER_STOP_RECV_PACKET", BetweenServers),
	command[imserver.IMValidateReq](CmdValidateReq, "CID_OTHER_VALIDATE_REQ", BetweenServers),
	command[imserver.IMValidateRsp](CmdValidateRsp, "CID_OTHER_VALIDATE_RSP", BetweenServers),
	command[imserver.IMGetDeviceTokenReq](CmdGetDeviceTokenReq, "CID_OTHER_GET_DEVICE_TOKEN_REQ", BetweenServers),
	command[imserver.IMGetDeviceTokenRsp](CmdGetDeviceTokenRsp, "CID_OTHER_GET_DEVICE_TOKEN_RSP", BetweenServers),
	command[imserver.IMRoleSet](CmdRoleSet, "CID_OTHER_ROLE_SET", BetweenServers),
	command[imserver.IMOnlineUserInfo](CmdOnlineUserInfo, "CID_OTHER_ONLINE_USER_INFO", BetweenServers),
	command[imserver.IMMsgServInfo](CmdMsgServInfo, "CID_OTHER_MSG_SERV_INFO", BetweenServers),
	command[imserver.IMUserStatusUpdate](CmdUserStatusUpdate, "CID_OTHER_USER_STATUS_UPDATE", BetweenServers),
	command[imserver.IMUserCntUpdate](CmdUserCntUpdate, "CID_OTHER_USER_CNT_UPDATE", BetweenServers),
	command[imserver.IMServerKickUser](CmdServerKickUser, "CID_OTHER_SERVER_KICK_USER", BetweenServers),
	command[imserver.IMServerPCLoginStatusNotify](CmdServerPCLoginStatusNotify, "CID_OTHER_LOGIN_STATUS_NOTIFY", BetweenServers),
	command[imserver.IMPushToUserReq](CmdPushToUserReq, "CID_OTHER_PUSH_TO_USER_REQ", BetweenServers),
	command[imserver.IMPushToUserRsp](CmdPushToUserRsp, "CID_OTHER_PUSH_TO_USER_RSP", BetweenServers),
	command[imserver.IMGroupGetShieldReq](CmdGroupGetShieldReq, "CID_OTHER_GET_SHIELD_REQ", BetweenServers),
	command[imserver.IMGroupGetShieldRsp](CmdGroupGetShieldRsp, "CID_OTHER_GET_SHIELD_RSP", BetweenServers),
	command[imserver.IMFileTransferReq](CmdFileTransferReq, "CID_OTHER_FILE_TRANSFER_REQ", BetweenServers),
	command[imserver.IMFileTransferRsp](CmdFileTransferRsp, "CID_OTHER_FILE_TRANSFER_RSP", BetweenServers),
	command[imserver.IMFileServerIPReq](CmdFileServerIPReq, "CID_OTHER_FILE_SERVER_IP_REQ", BetweenServers),
	command[imserver.IMFileServerIPRsp](CmdFileServerIPRsp, "CID_OTHER_FILE_SERVER_IP_RSP", BetweenServers),
	command[imextension.SyncReq](CmdSyncReq, "CID_GODWIT_SYNC_REQ", FromClient),
	command[imextension.SyncRsp](CmdSyncRsp, "CID_GODWIT_SYNC_RSP", ToClient),
	command[imextension.SendRefused](CmdSendRefused, "CID_GODWIT_SEND_REFUSED", ToClient),
	command[imextension.RecallReq](CmdRecallReq, "CID_GODWIT_RECALL_REQ", FromClient),
	command[imextension.RecallRsp](CmdRecallRsp, "CID_GODWIT_RECALL_RSP", ToClient),
	command[imextension.EditReq](CmdEditReq, "CID_GODWIT_EDIT_REQ", FromClient),
	command[imextension.EditRsp](CmdEditRsp, "CID_GODWIT_EDIT_RSP", ToClient),
	command[imextension.MessageChangedNotify](CmdMessageChangedNotify, "CID_GODWIT_MESSAGE_CHANGED_NOTIFY", ToClient),
	command[imextension.ReceivedReq](CmdReceivedReq, "CID_GODWIT_RECEIVED_REQ", FromClient),
	command[imextension.ReceiptNotify](CmdReceiptNotify, "CID_GODWIT_RECEIPT_NOTIFY", ToClient),
	command[imextension.ReceiptsReq](CmdReceiptsReq, "CID_GODWIT_RECEIPTS_REQ", FromClient),
	command[imextension.ReceiptsRsp](CmdReceiptsRsp, "CID_GODWIT_RECEIPTS_RSP", ToClient),
	command[imextension.TypingReq](CmdTypingReq, "CID_GODWIT_TYPING_REQ", FromClient),
	command[imextension.TypingNotify](CmdTypingNotify, "CID_GODWIT_TYPING_NOTIFY", ToClient),
	command[imextension.FriendListReq](CmdFriendListReq, "CID_GODWIT_FRIEND_LIST_REQ", FromClient),
	command[imextension.FriendListRsp](CmdFriendListRsp, "CID_GODWIT_FRIEND_LIST_RSP", ToClient),
	command[imextension.FriendReq](CmdFriendReq, "CID_GODWIT_FRIEND_REQ", FromClient),
	command[imextension.FriendRsp](CmdFriendRsp, "CID_GODWIT_FRIEND_RSP", ToClient),
	command[imextension.FriendNotify](CmdFriendNotify, "CID_GODWIT_FRIEND_NOTIFY", ToClient),
	command[imextension.GroupUpdateReq](CmdGroupUpdateReq, "CID_GODWIT_GROUP_UPDATE_REQ", FromClient),
	command[imextension.GroupUpdateRsp](CmdGroupUpdateRsp, "CID_GODWIT_GROUP_UPDATE_RSP", ToClient),
	command[imextension.GroupNotify](CmdGroupNotify, "CID_GODWIT_GROUP_NOTIFY", ToClient),
	command[imextension.ServerNotify](CmdServerNotify, "CID_GODWIT_SERVER_NOTIFY", ToClient),
}
